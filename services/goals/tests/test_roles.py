"""Who sees what of a goal (SPEC §2): the names of all fields for each role, so that a new one is decided about here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids

if TYPE_CHECKING:
    import httpx

    from services.goals.tests.conftest import LiveSession

GOAL = {
    "id", "kind", "active", "state", "conditions.session_id", "context.type", "levels", "progress", "nbf", "exp",
    "metadata.user_id", "outcome", "ended_at", "lapsed",
}  # fmt: skip
IN_SESSION = GOAL | {"context.session_id"}
LEVEL = {"levels.title", "levels.target"}
TICKETS = {f"context.{name}" for name in
           ("perform_duration", "ticket_product_id", "ticket_product_type", "discount_percentage")}  # fmt: skip
OF_TWO = {
    "conditions.exclusive_to", "context.exclusive_to", "metadata.prepaid_duration", "metadata.agreed",
    "amount_diamonds", "reason",
}  # fmt: skip
NOTHING: set[str] = set()

SEEN: dict[str, dict[str, set[str]]] = {
    "proposal": {"two": IN_SESSION | OF_TWO | {"context.duration"}, "others": NOTHING},
    "rejected": {"two": IN_SESSION | OF_TWO | {"context.duration"}, "others": NOTHING},
    "invitation": {"two": IN_SESSION | OF_TWO | {"context.duration"}, "others": IN_SESSION},
    "agreed": {"two": IN_SESSION | OF_TWO | {"context.duration", "context.exclusive_goal_id"}, "others": IN_SESSION},
    "exclusive": {"two": IN_SESSION | OF_TWO | {"context.trigger_exclusive_goal_id"}, "others": IN_SESSION},
    "funding": dict.fromkeys(
        ("two", "others"),
        IN_SESSION | LEVEL | TICKETS | {"context.hesitation_countdown", "context.show_goal_id"},
    ),
    "show": dict.fromkeys(("two", "others"), IN_SESSION | LEVEL | TICKETS | {"context.funding_goal_id"}),
    "private": dict.fromkeys(("two", "others"), IN_SESSION | LEVEL),
    "karaoke": dict.fromkeys(("two", "others"), GOAL | {"context.gift_id", "context.sender_id", "context.product_id"}),
}
"""Of each goal, what its two people see and what everybody else does: strangers, who is blocked, operators."""


def names_of(data: Any, prefix: str = "") -> set[str]:
    """`conditions.session_id` and so on; of a list, its items' names."""
    if isinstance(data, dict):
        return set().union(*(names_of(value, f"{prefix}.{name}" if prefix else name) for name, value in data.items()))
    if isinstance(data, list) and data:
        return {prefix}.union(*(names_of(item, prefix) for item in data)) if prefix == "levels" else set()
    return {prefix}


async def scene(live: LiveSession, name: str, viewer: str) -> str:
    """A goal of that name, of this viewer if it is anybody's; its id."""
    if name in ("agreed", "exclusive"):
        return (await live.exclusive(viewer))[name == "exclusive"]
    if name in ("funding", "show"):
        return (await live.show())[name == "show"]
    if name == "private":
        return await live.private_goal(100)
    if name == "karaoke":
        await live.harness.handle(live.song(viewer))
        return (await live.harness.take())[-1].subject
    goal_id = await (live.invitation if name == "invitation" else live.proposal)(viewer)
    if name == "rejected":
        await live.harness.handle(live.not_held(goal_id, viewer))
    return goal_id


@pytest.mark.parametrize("name", SEEN)
async def test_each_role_sees_these_fields_and_no_others(live: LiveSession, name: str) -> None:
    viewer, blocked = ids.new_id(), ids.new_id()
    await live.harness.handle(live.blocked(blocked))
    goal_id = await scene(live, name, viewer)
    roles: dict[str, tuple[httpx.AsyncClient, str]] = {
        "streamer": (live.host(), "two"),
        "viewer": (live.viewer(viewer), "two"),
        "stranger": (live.viewer(ids.new_id()), "others"),
        "another streamer": (live.harness.client(ids.new_id(), "CREATOR"), "others"),
        "blocked": (live.viewer(blocked), "others"),
        "operator": (live.harness.client(ids.new_id(), "OPS"), "others"),
    }

    for role, (client, group) in roles.items():
        got = await client.get(f"/goals/{goal_id}")
        should = SEEN[name][group]
        assert (names_of(got.json()) if got.status_code == 200 else NOTHING) == should, role
        listed = (await client.get(f"/goals?session_id={live.session_id}")).json()["items"]
        of_list = [item for item in listed if item["id"] == goal_id]
        never_a_promise = name in ("proposal", "rejected")
        if role == "streamer" or (should and not never_a_promise):
            assert [names_of(item) for item in of_list] == [should], role
        else:
            assert of_list == [], role


async def test_only_its_two_people_read_why_a_proposal_was_rejected(live: LiveSession) -> None:
    viewer = ids.new_id()
    goal_id = await scene(live, "rejected", viewer)

    for client in (live.viewer(viewer), live.host()):
        assert (await client.get(f"/goals/{goal_id}")).json()["reason"] == "insufficient_diamonds"


@pytest.mark.parametrize("name", ["proposal", "rejected", "invitation", "agreed"])
async def test_the_leaderboard_of_an_invitation_is_its_two_peoples(live: LiveSession, name: str) -> None:
    viewer = ids.new_id()
    path = f"/goals/{await scene(live, name, viewer)}/leaderboard"

    assert (await live.host().get(path)).status_code == (await live.viewer(viewer).get(path)).status_code == 200
    for stranger in (live.viewer(ids.new_id()), live.harness.client(ids.new_id(), "OPS")):
        assert (await stranger.get(path)).status_code == 404


async def test_a_stranger_does_not_learn_that_a_proposal_is_there(live: LiveSession) -> None:
    goal_id = await live.proposal(ids.new_id())
    stranger = live.harness.client(ids.new_id(), "CREATOR")

    for body in (None, {"agree": True}):
        assert (await stranger.request("DELETE", f"/goals/{goal_id}", json=body)).status_code == 404
    assert (await stranger.put(f"/goals/{goal_id}/extend")).status_code == 404
