"""kill -9 of a process at each named point, while a story passes through it: nothing lost, nothing doubled.

Several processes die in one story: each with something that it does for the story, whatever it does besides. Which
point that is, and that it was really hit, stands in the log of the plan.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
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
    of: str | None = None
    """What it has in hand then: the type of an event, or the name of a timer or an effect."""

    @property
    def plan(self) -> Mapping[str, str]:
        """The plan's entry, but for where it is logged."""
        return {"action": "kill", **({"of": self.of} if self.of else {})}

    def __str__(self) -> str:
        return f"{self.part} at {self.point}"


@dataclass(frozen=True, slots=True)
class KillStory:
    """A story in which each of some processes dies once."""

    streamer: str
    viewer: str
    play: Callable[[Scene], Awaitable[None]]
    kills: tuple[Kill, ...]
    friend: str | None = None
    diamonds: int = DIAMONDS


KILL_STORIES: Final = (
    KillStory(
        "Iris",
        "Tim",
        refused,
        (
            Kill("goals-worker", "relay.after_publish", "goal.proposed.v1"),
            Kill("escrow-worker", "consumer.after_commit", "goal.proposed.v1"),  # the hold
            Kill("sessions-worker", "consumer.after_commit", "goal.created.v1"),  # the pair
            Kill("notifier-worker", "effects.after_vendor", "push"),  # of goal.added
        ),
    ),
    KillStory(
        "Jane",
        "Ugo",
        never_started,
        (
            Kill("notifier-worker", "consumer.after_commit", "goal.progressed.v1"),
            Kill("goals-worker", "timers.in_run", "lapse-due"),
            Kill("escrow-worker", "relay.after_publish", "escrow.held.v1"),
        ),
    ),
    KillStory(
        "Kate",
        "Vic",
        funded,
        (
            Kill("goals-api", "edge.after_commit"),  # the funding
            Kill("escrow-worker", "timers.in_run", "settlement-due"),  # after two tickets of four: the show was kept
        ),
        friend="Wim",
        diamonds=PURSE,
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


async def spend(story: KillStory, stack: Stack, on_air: OnAir, logs: Path, verdict: Verdict) -> Seen:
    """Plan the deaths, play the story, see everybody alive again, and judge."""
    scene = await on_air(story.streamer, story.viewer, story.friend, story.diamonds)
    files = {kill: logs / f"{story.streamer}-{kill.part}" for kill in story.kills}
    for kill in story.kills:
        await asyncio.to_thread(stack.stop_part, kill.part)
    for kill, file in files.items():
        plan = {kill.point: {**kill.plan, "log": str(file)}}
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
        return await until(f"{file.name} to be hit", look, bool)
    except Unmet:
        return False


def _seen_twice(scene: Scene) -> frozenset[str]:
    events = Counter((event.topic, event.attributes.id) for event in scene.world.tap.of(session_id=scene.session_id))
    pushes = Counter((person, push.channel, push.seq) for person in scene.clients for push in scene.pushes_to(person))
    return frozenset(topic for (topic, _), times in events.items() if times > 1) | (
        {"pusher"} if any(times > 1 for times in pushes.values()) else set()
    )


@pytest.fixture(scope="module")
async def stories(
    stack: Stack, on_air: OnAir, verdict: Verdict, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[KillStory, Seen]:
    logs = tmp_path_factory.mktemp("hits")
    return {story: await spend(story, stack, on_air, logs, verdict) for story in KILL_STORIES}


@pytest.mark.parametrize("kill", KILLS, ids=str)
async def test_the_process_died_exactly_there_once_and_was_started_again(
    stories: Mapping[KillStory, Seen], kill: Kill
) -> None:
    [seen] = [seen for story, seen in stories.items() if kill in story.kills]

    assert (seen.hits[kill], seen.again[kill]) == ([kill.point], True)


@pytest.mark.parametrize(
    ("kill", "where"),
    [
        (Kill("goals-worker", "relay.after_publish", "goal.proposed.v1"), "goals"),
        (Kill("escrow-worker", "relay.after_publish", "escrow.held.v1"), "escrow"),
        (Kill("notifier-worker", "effects.after_vendor", "push"), "pusher"),
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
