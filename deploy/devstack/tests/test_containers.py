"""What a run is told whose `TEST_BACKEND` cannot be followed. That the containers serve is seen by testing on them."""

import os
import subprocess
import sys

import pytest

from devstack import downloads
from devstack.containers import IMAGES, image
from devstack.errors import StackError

CHECKOUT = downloads.HERE.parents[1]
NEEDS_SERVERS = CHECKOUT / "libs" / "chassis" / "tests" / "storage" / "test_tx.py"


def run_tests(**environment: str) -> subprocess.CompletedProcess[str]:
    """A run of its own, which ends at the first test that fails."""
    plain = {name: value for name, value in os.environ.items() if name not in ("MONGO_URL", "KAFKA_BOOTSTRAP")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--exitfirst", NEEDS_SERVERS],
        cwd=CHECKOUT,
        env=plain | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_unknown_backend_is_refused_before_any_test_runs() -> None:
    done = run_tests(TEST_BACKEND="podman")

    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "TEST_BACKEND=podman is unknown; known are: devstack, docker" in done.stderr


def test_who_has_no_docker_engine_is_told_what_to_do() -> None:
    done = run_tests(TEST_BACKEND="docker", DOCKER_HOST="unix:///nowhere/docker.sock")

    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "StackError: no Docker engine answers" in done.stdout
    assert "start one, so that `docker info` works, or run the tests without TEST_BACKEND" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("variable", IMAGES)
def test_an_image_is_named_by_tag_or_by_digest(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(variable, raising=False)
    assert image(variable) == IMAGES[variable]

    for named in (f"mongo@sha256:{'0' * 64}", f"registry.local:5000/my/mongo:7.0@sha256:{'0' * 64}", "mongo:7"):
        monkeypatch.setenv(variable, named)
        assert image(variable) == named

    for wrong in (
        "mongo@sha256:0",
        f"mongo@md5:{'0' * 64}",
        f"sha256:{'0' * 64}@mongo",
        "mongo 7",
        f"@sha256:{'0' * 64}",
    ):
        monkeypatch.setenv(variable, wrong)
        with pytest.raises(StackError, match=f"^{variable}=.* is no image: "):
            image(variable)


def test_an_image_that_is_none_is_told_of_before_an_engine_is_asked() -> None:
    done = run_tests(
        TEST_BACKEND="docker", TEST_MONGO_IMAGE="mongo@sha256:12", DOCKER_HOST="unix:///nowhere/docker.sock"
    )

    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "StackError: TEST_MONGO_IMAGE=mongo@sha256:12 is no image" in done.stdout
