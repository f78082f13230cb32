"""The manifests of deploy/k8s are what Kubernetes' API takes, and start of each service what is started elsewhere."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types

from contracts.topics import TopicSpec
from devstack.settings import SECRETS, SERVICES, package

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
OURS = {"Kustomization", "ScaledObject", "TriggerAuthentication"}
"""Kinds that are not of Kubernetes itself."""
SCHEMA = json.loads((Path(__file__).parent / "kubernetes-1.32.schema.json").read_text())
"""Of the other kinds that are used, from the API of Kubernetes 1.32: strict, without its descriptions."""
Manifest = dict[str, Any]


def manifests(text: str) -> Iterator[Manifest]:
    yield from yaml.safe_load_all(text)


def refused(manifest: Manifest) -> list[str]:
    """What the API would not take."""
    kind = SCHEMA["kinds"][f"{manifest['apiVersion']} {manifest['kind']}"]
    validator = jsonschema_rs.validator_for({**SCHEMA, "$ref": f"#/$defs/{kind}"})
    return [f"{manifest['metadata']['name']}: {error.message}" for error in validator.iter_errors(manifest)]


def sources() -> list[Manifest]:
    return [one for path in sorted(K8S.rglob("*.yaml")) for one in manifests(path.read_text())]


@pytest.fixture(scope="module")
def built() -> list[Manifest]:
    """What an installation applies: the example, put together by kustomize."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl puts the manifests together, and is not installed here")
    done = subprocess.run((kubectl, "kustomize", K8S / "example"), check=True, capture_output=True, text=True)
    return list(manifests(done.stdout))


def named(built: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in built if one["kind"] == kind}


def container(manifest: Manifest) -> Manifest:
    [only] = manifest["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_the_api_takes_every_manifest() -> None:
    found = [one for one in sources() if one["kind"] not in OURS]

    assert len(found) > 10
    assert [line for one in found for line in refused(one)] == []


def test_what_the_api_would_not_take_is_seen() -> None:
    [worker] = [one for one in manifests((K8S / "base" / "worker.yaml").read_text()) if one["kind"] == "Deployment"]
    container(worker)["readinessProbe"]["httpGett"] = {}

    assert "httpGett" in " ".join(refused(worker))


def test_each_service_has_its_folder_and_every_image_a_tag() -> None:
    assert {path.name for path in (K8S / "services").iterdir()} == set(SERVICES)
    listed = yaml.safe_load((K8S / "footlights" / "kustomization.yaml").read_text())["resources"]
    assert {f"../services/{name}" for name in SERVICES} <= set(listed)
    tagged = yaml.safe_load((K8S / "example" / "kustomization.yaml").read_text())["images"]
    assert {one["name"] for one in tagged} == {f"footlights/{name}" for name in (*SERVICES, "gateway")}


def test_an_installation_is_what_the_api_takes(built: list[Manifest]) -> None:
    assert [line for one in built if one["kind"] not in OURS for line in refused(one)] == []
    assert {one["metadata"].get("namespace") for one in built if one["kind"] != "Namespace"} == {"footlights"}


def test_a_service_is_a_migration_an_api_and_workers_with_its_own_secrets(built: list[Manifest]) -> None:
    deployments, settings = named(built, "Deployment"), set(named(built, "ConfigMap"))
    for name in SERVICES:
        for role in ("api", "worker", "migrate"):
            manifest = named(built, "Job")[f"{name}-migrate"] if role == "migrate" else deployments[f"{name}-{role}"]
            process = container(manifest)
            assert (process["args"], process["image"]) == ([role], f"footlights/{name}:1.0.0")
            told, secret, *keys = process["envFrom"]
            assert told["configMapRef"]["name"] in settings
            assert secret["secretRef"]["name"] == name
            assert keys == ([{"secretRef": {"name": "access-tokens"}}] if role == "api" else [])  # who answers HTTP
            assert process["securityContext"]["readOnlyRootFilesystem"] is True
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            assert labels == {"app.kubernetes.io/component": role, "app.kubernetes.io/name": name}
            if role != "migrate":
                assert manifest["spec"]["selector"]["matchLabels"] == labels
                budget = named(built, "PodDisruptionBudget")[f"{name}-{role}"]["spec"]
                assert budget["selector"]["matchLabels"] == labels


def test_workers_are_as_many_as_their_lag_wants_and_a_topic_has_partitions(built: list[Manifest]) -> None:
    scaled = named(built, "ScaledObject")
    for name in SERVICES:
        for role in ("api", "worker"):
            spec = scaled[f"{name}-{role}"]["spec"]
            assert spec["scaleTargetRef"] == {"name": f"{name}-{role}"}
            assert spec["minReplicaCount"] >= 2
        [trigger] = scaled[f"{name}-worker"]["spec"]["triggers"]
        assert trigger["metadata"]["consumerGroup"] == name
        assert scaled[f"{name}-worker"]["spec"]["maxReplicaCount"] == TopicSpec().partitions


def test_the_gateway_finds_every_api(built: list[Manifest]) -> None:
    said = {one["name"]: one["value"] for one in container(named(built, "Deployment")["gateway"])["env"]}

    for name in SERVICES:
        host, port = said[f"{package(name).upper()}_API"].split(":")
        service = named(built, "Service")[host]["spec"]
        assert service["selector"] == {"app.kubernetes.io/component": "api", "app.kubernetes.io/name": name}
        assert [str(one["port"]) for one in service["ports"]] == [port]


def test_what_is_said_in_the_open_is_known_and_no_secret(built: list[Manifest]) -> None:
    known = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for name, one in named(built, "ConfigMap").items():
        assert one["data"].keys() <= known, name
        assert not one["data"].keys() & {*SECRETS, "MONGO_URL", "KAFKA_SASL_PASSWORD", "PUSHER_KEYS"} - {
            "OTEL_EXPORTER_OTLP_ENDPOINT"
        }, name
    assert named(built, "Secret") == {}
