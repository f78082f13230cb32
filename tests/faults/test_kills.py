"""kill -9 of a process at each named point, while a story passes through it: nothing lost, nothing doubled.

Several processes die in one story: each at the first thing that it does for the story. Which point that is, and that
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
from demo.stories.invitations import never_started, refused
from demo.stories.shows import funded
from demo.story import DIAMONDS, PURSE
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


FOLDING: Final = ("fold-due", "count-due")
COUNTING: Final = ("heads-due",)  # which asks Pusher, for every session that is on


@dataclass(frozen=True, slots=True)
class KillStory:
    """A story in which each of some processes dies once."""

    streamer: str
    viewer: str
    play: Callable[[Scene], Awaitable[None]]
    kills: tuple[Kill, ...]
    friend: str | None = None
    diamonds: int = DIAMONDS
    folding: bool = True
    """Whether escrow folds its ledger every 5 s and counts what is held every 10, which are timers, too."""


KILL_STORIES: Final = (
    KillStory(
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
    KillStory(
        "Jane",
        "Ugo",
        never_started,
        (
            Kill("notifier-worker", "consumer.after_commit"),  # goal.progressed
            Kill("goals-worker", "timers.in_run"),  # the lapse
            Kill("escrow-worker", "relay.after_publish"),  # escrow.held
        ),
    ),
    KillStory(
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
KILLS: Final = tuple(kill for story in KILL_STORIES for kill in story.kills)


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of a story."""

    hits: Mapping[Kill, Sequence[str]]
    """The lines of the plans' logs."""
    again: Mapping[Kill, bool]
    """Whether the part runs in a new process."""
    twice: frozenset[str]
    """Where something was seen twice: topics of Kafka, and `pusher`."""
    wrong: Sequence[str]


async def spend(story: KillStory, stack: Stack, mongo: Mongo, on_air: OnAir, logs: Path, verdict: Verdict) -> Seen:
    """Plan the deaths, play the story, see everybody alive again, and judge."""
    scene = await on_air(story.streamer, story.viewer, story.friend, story.diamonds)
    files = {kill: logs / f"{story.streamer}-{kill.part}" for kill in story.kills}
    for kill in story.kills:
        await asyncio.to_thread(stack.stop_part, kill.part)
    await rings_in(mongo, "notifier", COUNTING, timedelta(hours=1))
    await rings_in(mongo, "escrow", FOLDING, timedelta() if story.folding else timedelta(hours=1))
    for kill, file in files.items():
        plan = {kill.point: {"action": "kill", "log": str(file)}}
        await asyncio.to_thread(stack.start_part, kill.part, {"FAULT_PLAN": json.dumps(plan)})
    doomed = {kill: stack.process(kill.part).pid for kill in story.kills}
    wrong: list[str] = []
    try:
        await story.play(scene)
    except Unmet as unmet:
        wrong = [str(unmet), *scene.timeline()]
    for kill, file in files.items():
        if await _is_hit(file):
            await asyncio.to_thread(stack.wait_ready, kill.part, after=doomed[kill], seconds=BACK_SECONDS)
    await rings_in(mongo, "escrow", FOLDING, timedelta())
    await rings_in(mongo, "notifier", COUNTING, timedelta())
    return Seen(
        {kill: file.read_text().split() if file.exists() else [] for kill, file in files.items()},
        {kill: stack.process(kill.part).pid != doomed[kill] for kill in story.kills},
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
    events = Counter((event.topic, event.attributes.id) for event in scene.world.tap.of(session_id=scene.session_id))
    pushes = Counter((person, push.channel, push.seq) for person in scene.clients for push in scene.pushes_to(person))
    return frozenset(topic for (topic, _), times in events.items() if times > 1) | (
        {"pusher"} if any(times > 1 for times in pushes.values()) else set()
    )


async def rings_in(mongo: Mongo, service: str, names: Sequence[str], wait: timedelta) -> None:
    """Have these timers of a service ring after so long: then the next timer, or call, is the story's."""
    change = {"$set": {"due": datetime.now(UTC) + wait}}
    await mongo[service]["timers"].update_many({"name": {"$in": names}}, change)


@pytest.fixture(scope="module")
async def stories(
    stack: Stack, mongo: Mongo, on_air: OnAir, verdict: Verdict, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[KillStory, Seen]:
    logs = tmp_path_factory.mktemp("hits")
    return {story: await spend(story, stack, mongo, on_air, logs, verdict) for story in KILL_STORIES}


@pytest.mark.parametrize("kill", KILLS, ids=str)
async def test_the_process_died_exactly_there_once_and_was_started_again(
    stories: Mapping[KillStory, Seen], kill: Kill
) -> None:
    [seen] = [seen for story, seen in stories.items() if kill in story.kills]

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
    stories: Mapping[KillStory, Seen], kill: Kill, where: str
) -> None:
    [seen] = [seen for story, seen in stories.items() if kill in story.kills]

    assert where in seen.twice


async def test_a_settlement_went_on_in_another_process_where_it_had_stopped(
    stories: Mapping[KillStory, Seen], mongo: Mongo
) -> None:
    assert stories
    runs: list[dict[str, Any]] = [
        {"$match": {"kind": "release", "escrow_id": {"$regex": "^show_funding:"}}},
        {"$group": {"_id": {"escrow": "$escrow_id", "at": "$at"}, "tickets": {"$sum": 1}}},
        {"$group": {"_id": "$_id.escrow", "slices": {"$push": "$tickets"}}},
    ]

    settled = [row["slices"] async for row in await mongo["escrow"]["transfers"].aggregate(runs)]

    assert [2, 2] in settled


@pytest.mark.parametrize("story", KILL_STORIES, ids=lambda story: story.play.__name__)
async def test_nothing_is_lost_nothing_doubled_and_the_money_is_where_it_belongs(
    stories: Mapping[KillStory, Seen], story: KillStory
) -> None:
    wrong = stories[story].wrong

    assert not wrong, "\n".join(wrong)


async def test_every_process_runs_after_the_stories(stories: Mapping[KillStory, Seen], stack: Stack) -> None:
    assert stories

    assert {part["name"]: part["state"] for part in stack.status()["processes"] if part["state"] != "ready"} == {}
