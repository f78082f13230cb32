"""A caller's commands that have collided are tried again one at a time; nobody waits for another caller."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from chassis.http import CallerDep, TxDep, TxRouter
from chassis.http.caller_queue import QUEUED_MAX, CallerQueues
from chassis.http.problems import TryAgain
from chassis.service import Service
from chassis.storage.collection import Collection
from chassis_testing.service import ServiceHarness

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
USER, OTHER = "a" * 24, "c" * 24
AT_ONCE = 30


@dataclass(frozen=True, slots=True)
class Jar:
    """One per user; every command of the user's writes it."""

    id: str
    beans: int = 0


@dataclass
class Gate:
    """What the endpoint does before it saves, and how often it was called."""

    attempts: Counter[str] = field(default_factory=Counter)
    open: asyncio.Event = field(default_factory=asyncio.Event)


JARS = Collection("jars", Jar)
GATES: dict[str, Gate] = {}
router = TxRouter()


@router.post("/beans")
async def add_bean(caller: CallerDep, tx: TxDep) -> int:
    jar = await tx.get(JARS, caller.user_id) or Jar(caller.user_id)
    if gate := GATES.get(caller.user_id):
        gate.attempts[caller.user_id] += 1
        await gate.open.wait()
    tx.put(JARS, replace(jar, beans=jar.beans + 1))
    return jar.beans + 1


SERVICE = Service("jars", router, collections=(JARS,))


@pytest.fixture
async def harness(harness_of: HarnessOf) -> ServiceHarness:
    GATES.clear()
    return await harness_of(SERVICE)


async def test_many_commands_of_one_caller_at_once_are_all_done_with_hardly_more_attempts(
    harness: ServiceHarness,
) -> None:
    gate = GATES[USER] = Gate()
    client = harness.client(USER)
    asked = [asyncio.create_task(client.post("/beans")) for _ in range(AT_ONCE)]
    async with asyncio.timeout(20):
        while gate.attempts[USER] < AT_ONCE:  # all have read the same jar
            await asyncio.sleep(0)
    gate.open.set()

    answers = await asyncio.gather(*asked)

    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.json() for answer in answers) == list(range(1, AT_ONCE + 1))
    assert gate.attempts[USER] <= 2 * AT_ONCE + 5


async def test_who_comes_while_others_wait_for_their_turn_waits_too_and_other_callers_do_not(
    harness: ServiceHarness,
) -> None:
    gate = GATES[USER] = Gate()
    client = harness.client(USER)
    asked = [asyncio.create_task(client.post("/beans")) for _ in range(3)]
    async with asyncio.timeout(20):
        while gate.attempts[USER] < 3:
            await asyncio.sleep(0)
        gate.open.set()
        while not any(task.done() for task in asked):  # whose turn it is now stops in front of the gate
            await asyncio.sleep(0)
        gate.open.clear()
        while gate.attempts[USER] < 4:
            await asyncio.sleep(0)
        late = asyncio.create_task(client.post("/beans"))

        other = await harness.client(OTHER).post("/beans")

        assert (other.status_code, other.json()) == (200, 1)
        assert gate.attempts[USER] == 4
        gate.open.set()
        assert sorted([answer.json() for answer in await asyncio.gather(*asked, late)]) == [1, 2, 3, 4]


async def test_turns_are_taken_in_order_and_each_is_given_on() -> None:
    queues = CallerQueues()
    taken: list[int] = []
    ready = asyncio.Event()

    async def command(number: int) -> None:
        with queues.of(USER) as queue:
            await queue.wait_turn()
            taken.append(number)
            await ready.wait()

    commands = [asyncio.create_task(command(number)) for number in range(4)]
    await asyncio.sleep(0)
    assert taken == [0]
    commands[1].cancel()  # who goes away is passed over
    ready.set()

    await asyncio.gather(*commands, return_exceptions=True)

    assert taken == [0, 2, 3]


async def test_no_more_than_so_many_of_one_caller_are_queued() -> None:
    queues = CallerQueues()
    with queues.of(USER) as first:
        await first.wait_turn()
        await first.wait_turn()  # whose turn it is goes on
        queued = [asyncio.create_task(_wait(queues)) for _ in range(QUEUED_MAX - 1)]
        await asyncio.sleep(0)

        with pytest.raises(TryAgain):
            await _wait(queues)
        with queues.of(OTHER) as other:
            assert other.is_empty
            await other.wait_turn()

    await asyncio.gather(*queued)
    with queues.of(USER) as queue:
        assert queue.is_empty


async def _wait(queues: CallerQueues) -> None:
    with queues.of(USER) as queue:
        await queue.wait_turn()
