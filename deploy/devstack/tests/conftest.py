"""A stack of the tests' own, and the command line as people call it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from devstack.settings import VARIABLES
from devstack.stack import Stack

INFRASTRUCTURE = ("mongod", "kafka", "soketi", "nginx")

Done = subprocess.CompletedProcess[str]
Devstack = Callable[..., Done]


@pytest.fixture(scope="session")
def plain_environ() -> Mapping[str, str]:
    """Our environment without what would change a stack."""
    ours = (*VARIABLES, "DEVSTACK_DATA", "DEVSTACK_PORT_BASE")
    return {name: value for name, value in os.environ.items() if name not in ours}


@pytest.fixture(scope="session")
def devstack(plain_environ: Mapping[str, str]) -> Devstack:
    """Call the command line: the words, then variables to set."""

    def call(*words: str | Path, **variables: str) -> Done:
        return subprocess.run(
            (sys.executable, "-m", "devstack", *map(str, words)),
            env={**plain_environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,  # which ends only when nobody holds the pipes any more
            text=True,
            timeout=400,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, devstack: Devstack, plain_environ: Mapping[str, str]
) -> Iterator[Stack]:
    """The servers and the gateway, started by the command line and shared by all tests that leave it whole."""
    data = tmp_path_factory.mktemp("stack")
    up = devstack("up", "--data", data, "--only", *INFRASTRUCTURE, STEP_SECONDS="7")
    assert up.returncode == 0, up.stderr
    yield Stack(data, only=INFRASTRUCTURE, environ=plain_environ)
    assert devstack("down", "--data", data).returncode == 0
