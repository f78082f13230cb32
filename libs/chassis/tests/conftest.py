"""Both drivers, and what tests of running parts share: waiting with a deadline, and a part that runs for a while."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, get_args

import pytest

from chassis.runtime.runnable import Runnable
from chassis.storage.mongo import Driver

ONE_DRIVER = (
    "test_dead_letters.py",  # about many; what a driver may do to one is in test_parked_work.py
    "test_cli.py",  # about processes, whose driver is in their environment: where it matters, the test says so
    "test_tls.py",  # about servers, which it starts
    "test_relay_partitions.py",  # about brokers, of which it starts three
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What uses MongoDB is tested with each driver."""
    if "mongo_driver" in metafunc.fixturenames and metafunc.definition.path.name not in ONE_DRIVER:
        metafunc.parametrize("mongo_driver", get_args(Driver), indirect=True, scope="session")


Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def eventually() -> Eventually:
    """`await eventually(lambda: condition, seconds=10)`: wait until it holds, or fail. A limit that is none is long."""

    async def wait(holds: Callable[[], Any], *, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while True:
            held = holds()
            if inspect.isawaitable(held):
                held = await held
            if held:
                return
            assert time.monotonic() < until, f"did not happen within {seconds} s"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def doing() -> Doing:
    """`async with doing(part, part): ...`: parts run meanwhile; then they are stopped and must end within a minute."""

    @asynccontextmanager
    async def run(*parts: Runnable) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(part.run()) for part in parts]
        try:
            yield
        finally:
            for part in parts:
                part.stop()
            async with asyncio.timeout(60):
                await asyncio.gather(*tasks)

    return run
