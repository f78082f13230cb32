"""Two releases of one toy service on one database, in turns, as in a rolling deploy and after a step back.

The next release has a field more, in a document and in its parts, a new value of a `Literal`, a new event, a new timer
and a new vendor call. The one before knows none of it, loses none of it, and goes on with what it knows.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from fastapi import APIRouter

from chassis import ids
from chassis.clock import SystemClock
from chassis.context import Outside
from chassis.decision import At, Call, Effect, Timer
from chassis.effects.dispatcher import EffectDispatcher
from chassis.effects.model import EFFECTS
from chassis.kafka.decoding import Partition
from chassis.kafka.processor import BatchProcessor
from chassis.runtime import parked_work
from chassis.service import EffectRequest, EffectResult, Service, effect, on, when
from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from chassis.timers.dispatcher import TimerDispatcher
from chassis.timers.model import TIMERS
from chassis_testing.service import START_TIME, KafkaRecord, ServiceHarness
from contracts import Event, ViewerBlockedV1, ViewerUnblockedV1

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
PARTITION = Partition("sessions", 0)


# -- the release before ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lid:
    name: str
    turns: int = 0


@dataclass(frozen=True)
class Jar:
    id: str
    beans: int = 0
    state: Literal["open", "shut"] = "open"
    lids: tuple[Lid, ...] = ()


JARS = Collection("jars", Jar)


class Shake(Timer, name="shake"):
    jar: str


class Push(Effect, name="push"):
    jar: str


async def add_bean(event: ViewerBlockedV1, tx: Tx) -> None:
    """A bean, a turn of the lid, a timer and a push."""
    jar = await tx.get(JARS, event.viewer_id) or Jar(event.viewer_id, lids=(Lid("red"), Lid("blue")))
    turned = tuple(replace(lid, turns=lid.turns + (lid.name == "red")) for lid in jar.lids)
    tx.put(JARS, replace(jar, beans=jar.beans + 1, lids=turned))
    tx.set_timer(At(Shake(jar=jar.id), f"shake-{jar.id}", tx.now, jar.id))
    tx.schedule_effect(Call(Push(jar=jar.id), f"push-{jar.id}-{jar.beans}", jar.id))


async def shake(timer: Shake, tx: Tx) -> None:
    jar = await tx.get(JARS, timer.jar)
    assert jar is not None
    tx.put(JARS, replace(jar, beans=jar.beans + 100))


# -- the next one ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewLid:
    name: str
    turns: int = 0
    colour: str = "none"


@dataclass(frozen=True)
class NewJar:
    id: str
    beans: int = 0
    state: Literal["open", "shut", "sealed"] = "open"
    lids: tuple[NewLid, ...] = ()
    peas: int = 0


NEW_JARS = Collection("jars", NewJar)


class Stir(Timer, name="stir"):
    jar: str


class Ring(Effect, name="ring"):
    jar: str


async def add_pea(event: ViewerBlockedV1, tx: Tx) -> None:
    jar = await tx.get(NEW_JARS, event.viewer_id) or NewJar(event.viewer_id)
    painted = tuple(replace(lid, colour=f"dark {lid.name}") for lid in jar.lids)
    tx.put(NEW_JARS, replace(jar, peas=jar.peas + 1, lids=painted))
    tx.set_timer(At(Stir(jar=jar.id), f"stir-{jar.id}", tx.now, jar.id))
    tx.schedule_effect(Call(Ring(jar=jar.id), f"ring-{jar.id}-{jar.peas}", jar.id))


async def seal(event: ViewerUnblockedV1, tx: Tx) -> None:
    jar = await tx.get(NEW_JARS, event.viewer_id) or NewJar(event.viewer_id)
    tx.put(NEW_JARS, replace(jar, state="sealed"))


async def stir(timer: Stir, tx: Tx) -> None:
    jar = await tx.get(NEW_JARS, timer.jar)
    assert jar is not None
    tx.put(NEW_JARS, replace(jar, peas=jar.peas + 100))


async def shake_new(timer: Shake, tx: Tx) -> None:
    jar = await tx.get(NEW_JARS, timer.jar)
    assert jar is not None
    tx.put(NEW_JARS, replace(jar, beans=jar.beans + 100))


# -- both --------------------------------------------------------------------------------------------------------------


class Vendor:
    """Remembers what it was called for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def perform(self, calls: Sequence[EffectRequest[Any]], _outside: Outside) -> Sequence[EffectResult[Any]]:
        self.calls += [one.id for one in calls]
        return [EffectResult(one.effect, one.id, one.key) for one in calls]


class Deploy:
    """One database, one partition, and whichever release is there."""

    def __init__(self, harness_of: HarnessOf, doing: Any, eventually: Any) -> None:
        self._solo_of, self._doing, self._eventually = harness_of, doing, eventually
        self.vendor = Vendor()
        old_calls = (effect(Push, self.vendor.perform),)
        self.old = Service("goals", APIRouter(), (on(ViewerBlockedV1, add_bean),), (when(Shake, shake),), old_calls,
                           (JARS,))  # fmt: skip
        self.new = Service(
            "goals",
            APIRouter(),
            (on(ViewerBlockedV1, add_pea), on(ViewerUnblockedV1, seal)),
            (when(Shake, shake_new), when(Stir, stir)),
            (*old_calls, effect(Ring, self.vendor.perform)),
            (NEW_JARS,),
        )
        self._log: list[KafkaRecord] = []

    async def start(self) -> None:
        self.harness = await self._solo_of(self.old, clock=SystemClock())

    def publish(self, *events: Event) -> None:
        for event in events:
            self._log.append(KafkaRecord.of_event(len(self._log), event))

    async def work(self, release: Service) -> None:
        """A worker of this release has the partition and hears what there is, or tries again what is parked."""
        worker = BatchProcessor(release, self.harness.runtime, ids.new_id())
        worker.ownership.owned = {one.partition.id: one for one in await worker.ownership.claim([PARTITION])}
        if todo := self._log[worker.ownership.owned[PARTITION.id].next :]:
            await worker.process({PARTITION: todo})
        await worker.retry()

    async def lead(self, release: Service, *, timers: int, calls: int) -> None:
        """A leader of this release has done what it knows when so much is left."""
        async with self._doing(
            TimerDispatcher(self.harness.runtime, release), EffectDispatcher(self.harness.runtime, release)
        ):
            await self._eventually(lambda: self._left(TIMERS.name, timers))
            await self._eventually(lambda: self._left(EFFECTS.name, calls))

    async def _left(self, name: str, count: int) -> bool:
        return await self.harness.runtime.database[name].count_documents({}) == count

    async def jar(self, id_: str) -> dict[str, Any]:
        found = await self.harness.runtime.database["jars"].find_one({"_id": id_}, {"_id": 0, "_stamp": 0})
        assert found is not None
        return found


@pytest.fixture
async def deploy(harness_of: HarnessOf, doing: Any, eventually: Any) -> Deploy:
    deploy = Deploy(harness_of, doing, eventually)
    await deploy.start()
    return deploy


async def test_two_releases_in_turns_lose_nothing_of_each_other(deploy: Deploy) -> None:
    jar = ids.new_id()
    for release in (deploy.old, deploy.new, deploy.old, deploy.new, deploy.old):
        deploy.publish(ViewerBlockedV1(streamer_id=ids.new_id(), viewer_id=jar))
        await deploy.work(release)

    assert await deploy.jar(jar) == {
        "beans": 3,
        "peas": 2,
        "state": "open",
        "lids": [
            {"name": "red", "turns": 3, "colour": "dark red"},
            {"name": "blue", "turns": 0, "colour": "dark blue"},
        ],
    }

    await deploy.lead(deploy.old, timers=1, calls=4)  # what the next release has set waits, and what is behind it
    assert deploy.vendor.calls == [f"push-{jar}-0"]
    assert (await deploy.jar(jar))["beans"] == 103

    await deploy.lead(deploy.new, timers=0, calls=0)
    assert (await deploy.jar(jar))["peas"] == 102
    in_order = ("push", 0), ("ring", 0), ("push", 1), ("ring", 1), ("push", 2)
    assert deploy.vendor.calls == [f"{name}-{jar}-{number}" for name, number in in_order]


async def test_what_only_the_next_release_can_read_waits_for_it_and_nothing_else_does(deploy: Deploy) -> None:
    sealed, other = ids.new_id(), ids.new_id()
    streamer = ids.new_id()
    deploy.publish(ViewerUnblockedV1(streamer_id=streamer, viewer_id=sealed))
    await deploy.work(deploy.new)

    deploy.publish(ViewerBlockedV1(streamer_id=streamer, viewer_id=sealed))
    deploy.publish(ViewerBlockedV1(streamer_id=ids.new_id(), viewer_id=other))
    await deploy.work(deploy.old)

    [waiting] = [one async for one in parked_work.MESSAGES.list(deploy.harness.runtime)]
    assert (waiting["key"], waiting["state"]) == (streamer, "retrying")
    assert waiting["reason"].startswith(f"UnreadableError: {sealed} of jars cannot be read: state: ")
    assert (await deploy.jar(other))["beans"] == 1

    await deploy.harness.runtime.database["parked_keys"].update_many(
        {}, {"$set": {"next_try_at": START_TIME.replace(year=2000)}}
    )
    await deploy.work(deploy.new)
    assert [one async for one in parked_work.MESSAGES.list(deploy.harness.runtime)] == []
    assert (await deploy.jar(sealed)) == {"beans": 0, "peas": 1, "state": "sealed", "lids": []}


async def test_an_old_worker_passes_over_what_its_table_does_not_list(deploy: Deploy) -> None:
    """Why consumers come first: once the last old worker is gone, the event may be published."""
    jar, late = ids.new_id(), ids.new_id()
    deploy.publish(ViewerUnblockedV1(streamer_id=ids.new_id(), viewer_id=late))
    deploy.publish(ViewerBlockedV1(streamer_id=ids.new_id(), viewer_id=jar))
    await deploy.work(deploy.old)
    deploy.publish(ViewerUnblockedV1(streamer_id=ids.new_id(), viewer_id=jar))
    await deploy.work(deploy.new)

    assert (await deploy.jar(jar))["state"] == "sealed"
    assert await deploy.harness.runtime.database["jars"].count_documents({"_id": late}) == 0
