"""MongoDB and Kafka in containers: for tests, with `TEST_BACKEND=docker`.

A server listens inside its container on the very port that is published outside, on loopback. So the address it
announces to its clients, as member of a replica set or as broker, is right on both sides.
"""

import asyncio
import gc
import os
import re
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from devstack import checks
from devstack.errors import StackError
from devstack.parts import KAFKA_PROPERTIES, MONGOD_OPTIONS, REPLICA_SET

IMAGES = {"TEST_MONGO_IMAGE": "mongo:7.0", "TEST_KAFKA_IMAGE": "apache/kafka:4.3.1"}
"""By the variable that names another, best by its digest (SECURITY.md says why these have none)."""
IMAGE = re.compile(r"[a-z0-9][\w./:-]*(@sha256:[0-9a-f]{64})?")
CONTROLLER = "127.0.0.1:9093"  # below the ports that the kernel gives away, and seen inside the container only
READY_SECONDS = 180.0  # for a machine that does much else besides; the image is there already
CHECK_INTERVAL_SECONDS = 0.5  # each question that comes too early for Kafka is logged as an error
TAIL_LINES = 20


def image(variable: str) -> str:
    """The image that a variable names, else its default.

    Raises StackError for what is no image: who has mistyped a digest would learn it from an engine, in its words.
    """
    named = os.environ.get(variable) or IMAGES[variable]
    if not IMAGE.fullmatch(named):
        raise StackError(f"{variable}={named} is no image: NAME[:TAG], or NAME[:TAG]@sha256: and 64 hex digits")
    return named


@contextmanager
def mongod() -> Iterator[str]:
    """A replica set of one; its URL is for MONGO_URL. It is gone afterwards, with its data.

    Raises StackError when no engine answers, the image cannot be had, or the server does not become ready.
    """
    port = _free_port()
    container = _container(image("TEST_MONGO_IMAGE"), port)
    container.with_command(["mongod", "--bind_ip_all", "--port", str(port), *MONGOD_OPTIONS])
    with _running(container, checks.mongod_is_primary(port, REPLICA_SET)):
        yield f"mongodb://127.0.0.1:{port}/?replicaSet={REPLICA_SET}"


@contextmanager
def kafka() -> Iterator[str]:
    """A broker that is its own controller; its address is for KAFKA_BOOTSTRAP. Else as `mongod`."""
    port = _free_port()
    address = f"127.0.0.1:{port}"
    properties = {
        "listeners": f"PLAINTEXT://:{port},CONTROLLER://{CONTROLLER}",
        "advertised.listeners": f"PLAINTEXT://{address}",
        "controller.quorum.voters": f"{KAFKA_PROPERTIES['node.id']}@{CONTROLLER}",
        **KAFKA_PROPERTIES,
    }
    container = _container(image("TEST_KAFKA_IMAGE"), port).with_env("KAFKA_HEAP_OPTS", "-Xmx384m")
    for name, value in properties.items():
        container.with_env(f"KAFKA_{name.upper().replace('.', '_')}", str(value))
    with _running(container, checks.kafka_answers(address)):
        yield address


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _container(image: str, port: int) -> DockerContainer:
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        try:
            container = DockerContainer(image)
        except DockerException as error:
            why = str(error)
        else:
            container.ports[f"{port}/tcp"] = ("127.0.0.1", port)  # type: ignore[assignment] # typed without an address
            return container
        gc.collect()  # docker-py never closes the socket that it failed with; pytest would blame a test for it
    raise StackError(
        f"no Docker engine answers ({why}): start one, so that `docker info` works, "
        "or run the tests without TEST_BACKEND, on the embedded stack"
    )


@contextmanager
def _running(container: DockerContainer, ready: checks.Check) -> Iterator[None]:
    """Start a container, wait until the server in it is ready, and remove it afterwards, whatever happened."""
    with ExitStack() as removal:
        try:
            removal.enter_context(container)
        except DockerException as error:
            raise StackError(
                f"{container.image} does not start ({error}): see that `docker pull {container.image}` works. "
                "TESTCONTAINERS_RYUK_DISABLED=true spares the image of testcontainers' reaper, "
                "which removes what a killed run leaves behind"
            ) from error
        # A loop of its own, and not made the current one: tests have theirs.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(_until_ready(container, ready))
        yield


async def _until_ready(container: DockerContainer, ready: checks.Check) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not await ready():
        container.reload()
        if container.status == "exited":
            raise StackError(f"{container.image} ended at its start{_tail(container)}")
        if time.monotonic() > deadline:
            raise StackError(f"{container.image} was not ready after {READY_SECONDS:.0f} s{_tail(container)}")
        await asyncio.sleep(CHECK_INTERVAL_SECONDS)


def _tail(container: DockerContainer) -> str:
    lines = b"".join(container.get_logs()).decode(errors="replace").splitlines()[-TAIL_LINES:]
    return "; the end of its log:\n" + "\n".join(f"    {line}" for line in lines)
