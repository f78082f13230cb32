"""What a run is told whose `TEST_BACKEND` cannot be followed. That the containers serve is seen by testing on them."""

import os
import subprocess
import sys

import pytest

from devstack import downloads

CHECKOUT = downloads.HERE.parents[1]
NEEDS_SERVERS = CHECKOUT / "libs" / "chassis" / "tests" / "test_tx.py"


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
