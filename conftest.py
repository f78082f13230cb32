"""Fixtures of every test: real servers, real databases, and one service alone on them.

Servers are those of `MONGO_URL` and `KAFKA_BOOTSTRAP` when set, else the tests' own: containers with
`TEST_BACKEND=docker`, else a devstack beside any that is running. With `pytest -n` each process has its own.
Tests that stop, freeze or kill servers start a devstack themselves, whatever is set here.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import hypothesis
import psutil
import pytest
import structlog
from xdist.scheduler import LoadScopeScheduling

from chassis import ids
from chassis.clock import Clock
from chassis.runtime.cli import tune_gc
from chassis.service import Service
from chassis.storage.mongo import Driver, Mongo
from chassis_testing.service import ServiceHarness

HarnessOf = Callable[..., Awaitable[ServiceHarness]]


WHOLE_STACKS = ("stories", "documents")
NICE = 10

# With `pytest -n`, what stays in one process because it shares a stack or a long setup, by the beginning of its path.
# The two chains of whole stacks begin first and run side by side, as each waits for half of its time; they are as long
# as each other. All other tests are done by whoever is free, in processes that give way: a story that has times to keep
# is not to wait for a processor.
CHAINS = {
    "tests/e2e/": "stories",
    "tests/faults/test_payments.py": "documents",
    "tests/faults/test_privacy.py": "documents",
    "tests/faults/test_refunds.py": "documents",
    "tests/faults/": "stories",
    "tests/docs/test_run.py": "documents",
    "deploy/": "documents",
    "libs/chassis/tests/kafka/test_consumer_outages.py": "outages",
    "services/notifier/tests/test_gateway.py": "soketi",
    "tests/test_guards.py": "guards",
}


BACKENDS = ("devstack", "docker")

MEMORY = Path("/dev/shm")  # noqa: S108 - what is put there has the number of its process in its name
MEMORY_FREE_BYTES = 6 << 30  # several times what all servers of a run write, journals laid out beforehand included


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a backend that is not there, before any test runs on another one; write into memory; log plainly.

    structlog's own tracebacks, with the source in colours, cost a fifth of all that the tests do.
    """
    if _backend() not in BACKENDS:
        raise pytest.UsageError(f"TEST_BACKEND={_backend()} is unknown; known are: {', '.join(BACKENDS)}")
    if not hasattr(config, "workerinput") and "TMPDIR" not in os.environ:
        _write_into_memory(config)
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    shown = structlog.make_filtering_bound_logger(logging.INFO)
    hypothesis.settings.register_profile(
        "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any machine")
    structlog.configure(processors=[structlog.processors.add_log_level, plain], wrapper_class=shown)


def _write_into_memory(config: pytest.Config) -> None:
    """Have all that tests and their servers write in memory, if there is plenty: a disk may take seconds for a journal.

    It goes with the run; of a run that was killed, with the next one. `TMPDIR` names a place where it stays.
    """
    if not MEMORY.is_dir():
        return
    for left in MEMORY.glob("footlights-tests-*"):
        if not psutil.pid_exists(int(left.name.rpartition("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    if min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) < MEMORY_FREE_BYTES:
        return
    place = MEMORY / f"footlights-tests-{os.getpid()}"
    place.mkdir(mode=0o700)
    tempfile.tempdir = os.environ["TMPDIR"] = str(place)
    config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))


def _backend() -> str:
    return os.environ.get("TEST_BACKEND") or "devstack"


def _chain(nodeid: str) -> str:
    return next((name for start, name in CHAINS.items() if nodeid.startswith(start)), nodeid)


class Chains(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Gives each chain to one process, and single tests to those who wait."""

    def _split_scope(self, nodeid: str) -> str:
        return _chain(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give way to processes with whole stacks, from the first other test on, and so do the servers of those tests."""
    if "PYTEST_XDIST_WORKER" in os.environ and _chain(item.nodeid) not in WHOLE_STACKS:
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: _chain(item.nodeid) not in WHOLE_STACKS)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over thousands of tests, as it passes over what a service has imported."""
    tune_gc()


@pytest.hookimpl(optionalhook=True)  # without xdist nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Chains:
    """How the tests are shared out."""
    return Chains(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures that tests have recorded, whichever process they ran in."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, figures in report.user_properties:
            if name == "figures" and report.when == "call":
                terminalreporter.write_line(str(figures))


@dataclass(frozen=True)
class Servers:
    """Where the real servers are."""

    mongo_url: str
    kafka_bootstrap: str
    outlast: bool
    """Whether they go on when the tests are over: then nothing of ours may stay."""


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """MongoDB as a replica set and Kafka, started once for the whole run."""
    if os.environ.get("MONGO_URL"):
        yield Servers(os.environ["MONGO_URL"], os.environ.get("KAFKA_BOOTSTRAP", ""), outlast=True)
    elif _backend() == "docker":
        from devstack import containers  # noqa: PLC0415 - only when asked for

        with containers.mongod() as mongo_url, containers.kafka() as kafka_bootstrap:
            yield Servers(mongo_url, kafka_bootstrap, outlast=False)
    else:
        from devstack.stack import Stack  # noqa: PLC0415 - only when nothing else is named

        with (
            tempfile.TemporaryDirectory(prefix="footlights-test-") as data,
            Stack(Path(data), only=("mongod", "kafka")) as stack,
        ):
            yield Servers(stack.mongo_url, stack.kafka_bootstrap, outlast=False)


@pytest.fixture(scope="session")
def mongo_driver(request: pytest.FixtureRequest) -> Driver:
    """The driver under test; the chassis' tests run with each."""
    return cast("Driver", getattr(request, "param", os.environ.get("MONGO_DRIVER", "motor")))


@pytest.fixture(scope="session")
async def mongo(servers: Servers, mongo_driver: Driver) -> AsyncIterator[Mongo]:
    """One connection for the whole run, to a server that deletes nothing by its time: documents may be of any day."""
    connection = Mongo(servers.mongo_url, mongo_driver, patient=True)  # a busy machine is no outage
    await connection.client.admin.command("setParameter", 1, ttlMonitorEnabled=False)
    yield connection
    await connection.client.admin.command("setParameter", 1, ttlMonitorEnabled=True)
    await connection.close()


@pytest.fixture
def namespace() -> str:
    """A prefix that nobody else uses, for databases, topics and groups."""
    return f"t{ids.new_id()[12:]}"


@dataclass(frozen=True)
class Databases:
    """Those that were made for a service, and are free to be used again."""

    service: Service
    """Kept, or another one might get its `id`."""
    free: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
async def _databases(mongo: Mongo, servers: Servers) -> AsyncIterator[dict[int, Databases]]:
    """Those of each service, by its `id`: making indexes is dear, deleting documents is not."""
    known: dict[int, Databases] = {}
    yield known
    if servers.outlast:
        for databases in known.values():
            for name in databases.free:
                await mongo.client.drop_database(name)


@pytest.fixture
async def harness_of(mongo: Mongo, _databases: dict[int, Databases]) -> AsyncIterator[HarnessOf]:
    """Start one service alone, on a database of its own: call it with the service and settings."""
    used: list[tuple[ServiceHarness, str]] = []

    async def start(service: Service, *, clock: Clock | None = None, **env: Any) -> ServiceHarness:
        free = _databases.setdefault(id(service), Databases(service)).free
        name = free.pop() if free else f"t-{service.package}-{ids.new_id()}"
        harness = await ServiceHarness.start(service, mongo, mongo.database(name), clock=clock, env=env)
        used.append((harness, name))
        return harness

    yield start
    for harness, name in used:
        await harness.clear()
        await harness.runtime.outside.close()
        _databases[id(harness.service)].free.append(name)
