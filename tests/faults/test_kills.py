"""kill -9 of a process at each named point, while a story passes through it: nothing lost, nothing doubled.

Several processes die in one night: each at the first thing that it does for the story. Which point that is, and that
it was really hit, stands in the log of the plan.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from pymongo import AsyncMongoClient

from demo.scene import Scene
from demo.shows import PURSE, funded
from demo.stories import never_started, refused
from demo.story import DIAMONDS
from demo.waiting import Unmet, until
from devstack.stack import Stack

Mongo = AsyncMongoClient[dict[str, Any]]
Verdict = Callable[[Scene], Awaitable[list[str]]]
OnAir = Callable[..., Awaitable[Scene]]

BACK_SECONDS: Final = 60.0  # for a process to start again on a busy machine


@dataclass(frozen=True, slots=True)
class Kill:
    """`part` dies at `point`, once; the process after it has no plan."""

    part: str
    point: str

    def __str__(self) -> str:
        return f"{self.part} at {self.point}"


@dataclass(frozen=True, slots=True)
class Night:
    """A story in which each of some processes dies once."""

    streamer: str
    viewer: str
    play: Callable[[Scene], Awaitable[None]]
    kills: tuple[Kill, ...]
    friend: str | None = None
    diamonds: int = DIAMONDS
    folding: bool = True
    """Whether escrow folds its ledger every 5 s and counts what is held every 10, which are timers, too."""


NIGHTS: Final = (
    Night(
        "Iris",
        "Tim",
        refused,
        (
            Kill("goals-worker", "relay.after_publish"),  # goal.proposed
            Kill("escrow-worker", "consumer.after_commit"),  # the hold
            Kill("sessions-worker", "consumer.after_commit"),  # the pair
            Kill("notifier-worker", "effects.after_vendor"),  # the push of goal.added
        ),
    ),
    Night(
        "Jane",
        "Ugo",
        never_started,
        (
            Kill("notifier-worker", "consumer.after_commit"),  # goal.progressed
            Kill("goals-worker", "timers.in_run"),  # the lapse
            Kill("escrow-worker", "relay.after_publish"),  # escrow.held
        ),
    ),
    Night(
        "Kate",
        "Vic",
        funded,
        (
            Kill("goals-api", "edge.after_commit"),  # the funding
            Kill("escrow-worker", "timers.in_run"),  # after two tickets of four: a show that was kept is settled
        ),
        friend="Wim",
        diamonds=PURSE,
        folding=False,
    ),
)
KILLS: Final = tuple(kill for night in NIGHTS for kill in night.kills)


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a night."""

    hits: Mapping[Kill, Sequence[str]]
    """The lines of the plans' logs."""
    again: Mapping[Kill, bool]
    """Whether the part runs in a new process."""
    twice: frozenset[str]
    """Where something was seen twice: topics of Kafka, and `pusher`."""
    wrong: Sequence[str]


async def spend(night: Night, stack: Stack, mongo: Mongo, on_air: OnAir, logs: Path, verdict: Verdict) -> Seen:
    """Plan the deaths, play the story, see everybody alive again, and judge."""
    scene = await on_air(night.streamer, night.viewer, night.friend, night.diamonds)
    files = {kill: logs / f"{night.streamer}-{kill.part}" for kill in night.kills}
    for kill in night.kills:
        await asyncio.to_thread(stack.stop_part, kill.part)
    await fold_in(mongo, timedelta() if night.folding else timedelta(hours=1))
    for kill, file in files.items():
        plan = {kill.point: {"action": "kill", "log": str(file)}}
        await asyncio.to_thread(stack.start_part, kill.part, {"FAULT_PLAN": json.dumps(plan)})
    doomed = {kill: stack.process(kill.part).pid for kill in night.kills}
    wrong: list[str] = []
    try:
        await night.play(scene)
    except Unmet as unmet:
        wrong = [str(unmet), *scene.timeline()]
    for kill, file in files.items():
        if await _is_hit(file):
            await asyncio.to_thread(stack.wait_ready, kill.part, after=doomed[kill], seconds=BACK_SECONDS)
    await fold_in(mongo, timedelta())
    return Seen(
        {kill: file.read_text().split() if file.exists() else [] for kill, file in files.items()},
        {kill: stack.process(kill.part).pid != doomed[kill] for kill in night.kills},
        _seen_twice(scene),
        wrong or await verdict(scene),
    )


async def _is_hit(file: Path) -> bool:
    async def look() -> bool:
        return await asyncio.to_thread(file.exists)

    try:
        return await until(f"{file.name} to be hit", look, bool, seconds=5.0)
    except Unmet:
        return False


def _seen_twice(scene: Scene) -> frozenset[str]:
    events = Counter((event.topic, event.meta.id) for event in scene.world.tap.of(session_id=scene.session_id))
    pushes = Counter((person, push.channel, push.seq) for person in scene.clients for push in scene.pushes_to(person))
    return frozenset(topic for (topic, _), times in events.items() if times > 1) | (
        {"pusher"} if any(times > 1 for times in pushes.values()) else set()
    )


async def fold_in(mongo: Mongo, wait: timedelta) -> None:
    """Have escrow fold and count next after so long: then the next timer that runs is the story's."""
    own = {"name": {"$in": ["fold-due", "count-due"]}}
    await mongo["escrow"]["timers"].update_many(own, {"$set": {"due": datetime.now(UTC) + wait}})


@pytest.fixture(scope="module")
async def nights(
    stack: Stack, mongo: Mongo, on_air: OnAir, verdict: Verdict, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[Night, Seen]:
    logs = tmp_path_factory.mktemp("hits")
    return {night: await spend(night, stack, mongo, on_air, logs, verdict) for night in NIGHTS}


@pytest.mark.parametrize("kill", KILLS, ids=str)
async def test_the_process_died_exactly_there_once_and_was_started_again(
    nights: Mapping[Night, Seen], kill: Kill
) -> None:
    [seen] = [seen for night, seen in nights.items() if kill in night.kills]

    assert (seen.hits[kill], seen.again[kill]) == ([kill.point], True)


@pytest.mark.parametrize(
    ("kill", "where"),
    [
        (Kill("goals-worker", "relay.after_publish"), "goals"),
        (Kill("escrow-worker", "relay.after_publish"), "escrow"),
        (Kill("notifier-worker", "effects.after_vendor"), "pusher"),
    ],
    ids=str,
)
async def test_what_was_sent_and_not_noted_is_sent_again_under_its_own_numbers(
    nights: Mapping[Night, Seen], kill: Kill, where: str
) -> None:
    [seen] = [seen for night, seen in nights.items() if kill in night.kills]

    assert where in seen.twice


async def test_a_settlement_went_on_in_another_process_where_it_had_stopped(
    nights: Mapping[Night, Seen], mongo: Mongo
) -> None:
    assert nights
    runs: list[dict[str, Any]] = [
        {"$match": {"kind": "release", "escrow_id": {"$regex": "^show_funding:"}}},
        {"$group": {"_id": {"escrow": "$escrow_id", "at": "$at"}, "tickets": {"$sum": 1}}},
        {"$group": {"_id": "$_id.escrow", "slices": {"$push": "$tickets"}}},
    ]

    settled = [row["slices"] async for row in await mongo["escrow"]["transfers"].aggregate(runs)]

    assert [2, 2] in settled


@pytest.mark.parametrize("night", NIGHTS, ids=lambda night: night.play.__name__)
async def test_nothing_is_lost_nothing_doubled_and_the_money_is_where_it_belongs(
    nights: Mapping[Night, Seen], night: Night
) -> None:
    wrong = nights[night].wrong

    assert not wrong, "\n".join(wrong)


async def test_every_process_runs_after_the_nights(nights: Mapping[Night, Seen], stack: Stack) -> None:
    assert nights

    assert {part["name"]: part["state"] for part in stack.status()["processes"] if part["state"] != "ready"} == {}
