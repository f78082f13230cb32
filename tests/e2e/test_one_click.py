"""One click's `x-request-id` finds, in the logs of all processes, every step that followed from it."""

import importlib
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from chassis.service import Service
from demo.scene import Scene
from demo.settings import INVITATION_REFUND_SECONDS
from demo.story import DIAMONDS
from demo.tap import Carried
from demo.waiting import WAIT_SECONDS, until
from demo.world import World
from devstack import services
from devstack.settings import package
from devstack.stack import Stack

ROSE = "livestream-gift_rose"

Line = Mapping[str, Any]
Step = tuple[str, str, str, str]
"""Process, type, key and id of what was done."""


@dataclass(frozen=True, slots=True)
class Click:
    """A command with an id of its caller's, and what must have come of it."""

    request_id: str
    does: Callable[[Scene, str], Awaitable[None]]
    ends: Callable[[Scene], Awaitable[None]]
    api: str
    asked: tuple[str, int]
    """Method and status, as gateway and api tell them."""
    published: frozenset[str]
    """Some events of those that followed."""
    timers: frozenset[tuple[str, str]] = frozenset()
    """Those that rang, by process."""


async def agrees(scene: Scene, request_id: str) -> None:
    """The streamer says yes, and then does nothing."""
    invitation = await scene.invites_and_is_seen()
    path, body = f"/goals/{invitation}", {"agree": True}
    answer = await scene.world.request(scene.streamer, "DELETE", path, body, **{"x-request-id": request_id})
    assert (answer.status_code, answer.headers["x-request-id"]) == (204, request_id)


async def is_refunded(scene: Scene) -> None:
    """What was agreed is not kept: the money is back, and both clients know."""
    await scene.sees(scene.viewer, "escrow.failed no_exclusive", seconds=WAIT_SECONDS + INVITATION_REFUND_SECONDS)
    await scene.sees(scene.viewer, "stream.revoked refunded")
    await scene.sees_on_kafka("escrow.settled released 0 refunded 1")


async def gives_rose(scene: Scene, request_id: str) -> None:
    """The viewer gives one, in a transaction that it may share with other people's."""
    body = {"product_id": ROSE, "session_id": scene.session_id, "count": 1}
    answer = await scene.world.request(scene.viewer, "POST", "/gifts", body, **{"x-request-id": request_id})
    assert (answer.status_code, answer.headers["x-request-id"]) == (202, request_id)


async def is_thanked(scene: Scene) -> None:
    """Everybody sees it."""
    for person in scene.clients:
        await scene.sees(person, "gift.sent 1 gift_rose")


AFTER_ALL = {  # when the time that was given would have ended, or who is cut was put out: before or after this
    ("notifier-worker", "minutes-over"),
    ("rtc-control-worker", "cut-due"),
}

CLICKS = (
    Click(
        "a-click-that-agrees",
        agrees,
        is_refunded,
        "goals-api",
        ("DELETE", 204),
        frozenset({"goal.ended.v1", "session.viewer_authorized.v1", "goal.lapsed.v1", "escrow.failed.v1"}),
        frozenset(
            {
                ("goals-worker", "lapse-due"),
                ("escrow-worker", "invitation-refund-check-due"),
                ("notifier-worker", "cut-due"),
            }
        ),
    ),
    Click(
        "a-click-that-gives",
        gives_rose,
        is_thanked,
        "shop-api",
        ("POST", 202),
        frozenset({"gift.requested.v1", "payment.succeeded.v1", "gift.sent.v1"}),
    ),
)


def lines_of(stack: Stack, request_id: str) -> dict[str, list[Line]]:
    """What each process has logged under this id."""
    found: dict[str, list[Line]] = {}
    for log in (stack.data / "logs").glob("*.log"):
        for text in log.read_text(errors="replace").splitlines():
            if request_id in text and text.startswith("{"):
                line = json.loads(text)
                if request_id in (line.get("request_id"), line.get("correlation_id")):
                    found.setdefault(log.stem, []).append(line)
    return found


def steps(lines: Mapping[str, Sequence[Line]], kind: str) -> list[Step]:
    """The lines of one kind that say that something was done."""
    return [
        (process, line["type"], line["key"], line["id"])
        for process, some in lines.items()
        for line in some
        if line.get("event") == kind and line["outcome"] in ("handled", "done")
    ]


def to_be_heard(tables: Sequence[Service], carried: Sequence[Carried]) -> list[Step]:
    """Each event at each service whose table lists it."""
    return [
        (f"{service.name}-worker", one.event.TYPE, one.event.key, f"{one.attributes.source} {one.attributes.id}")
        for one in carried
        for service in tables
        if any(row.subject is type(one.event) for row in service.handlers)
    ]


@pytest.mark.parametrize("click", CLICKS, ids=lambda click: click.request_id)
async def test_a_clicks_id_finds_every_step_that_followed(world: World, stack: Stack, click: Click) -> None:
    scene = Scene(world, world.person("Fay", "CREATOR"), world.person("Gus"))
    await scene.opens(DIAMONDS)
    await scene.goes_on_air()
    tables = [importlib.import_module(f"{package(name)}.service").SERVICE for name in services.chosen(stack.settings)]

    def carried() -> list[Carried]:
        return [one for one in world.tap.carried if one.attributes.correlation_id == click.request_id]

    async def missing() -> list[Step]:
        await world.tap.catch_up()
        heard = steps(lines_of(stack, click.request_id), "event")
        return [step for step in to_be_heard(tables, carried()) if step not in heard]

    await click.does(scene, click.request_id)
    await click.ends(scene)
    await until("every event to be in the logs of all who hear it", missing, lambda left: not left)

    lines = lines_of(stack, click.request_id)
    assert sorted(steps(lines, "event")) == sorted(to_be_heard(tables, carried()))
    assert {one.event.TYPE for one in carried()} >= click.published
    assert {(process, type_) for process, type_, _, _ in steps(lines, "timer")} - AFTER_ALL == click.timers
    asked = [(line["method"], line["status"]) for line in (*lines["nginx"], *lines[click.api])]
    assert asked == [click.asked, click.asked]
    assert pushes_of(scene, {one.attributes.id for one in carried()}) <= Counter(
        key for process, _, key, _ in steps(lines, "effect") if process == "notifier-worker"
    )


def pushes_of(scene: Scene, ids: set[str]) -> Counter[str]:
    """How many pushes of these events came on each channel to its clients; each counted once."""
    came = {(push.channel, push.seq) for one in scene.clients for push in scene.pushes_to(one) if push.event_id in ids}
    assert came
    return Counter(channel for channel, _ in came)
