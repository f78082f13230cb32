"""What one may watch: tokens, their rules by events and commands, answers that are kept and never stale."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from byteplus import room_tokens
from byteplus.room_tokens import Privilege
from chassis import ids
from chassis.clock import unix
from chassis_testing.service import ServiceHarness
from contracts import (
    REGISTRY,
    Conditions,
    Context,
    GoalCreatedV1,
    GoalEndedV1,
    GoalProgressedV1,
    Level,
    Metadata,
    PassActivatedV1,
)
from sessions.service import SERVICE
from sessions.store import answers
from stream_tokens import StreamTokenSettings, read

RECORDED = Path(__file__).parents[3] / "libs" / "contracts" / "tests" / "recorded"
STEP = 60

Live = Any  # the fixture's class stands in conftest.py, which no test imports
LiveOf = Callable[..., Awaitable[Live]]


def settings(live: Live) -> StreamTokenSettings:
    found = live.harness.runtime.outside.settings(StreamTokenSettings)
    assert isinstance(found, StreamTokenSettings)
    return found


async def asked(live: Live, user_id: str, query: str = "", harness: ServiceHarness | None = None) -> httpx.Response:
    where: ServiceHarness = harness or live.harness
    return await where.client(user_id).get(f"/sessions/{live.session_id}/token{query}")


async def watched(live: Live, user_id: str, query: str = "") -> Any:
    answer = await asked(live, user_id, query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def streamer(live: Live, method: str, path: str, body: Any = None) -> None:
    answer = await live.harness.client(live.streamer_id, "CREATOR").request(method, path, json=body)
    assert answer.status_code == 204, answer.text


async def put_source(live: Live, room: str, preset: str) -> None:
    await streamer(live, "PUT", f"/sessions/{live.session_id}/sources/{room}", {"preset": preset})


async def pay(live: Live, viewer_id: str, steps: int = 1) -> None:
    await live.harness.handle(live.paid(await live.asked(viewer_id, steps=steps)))


def slug(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def goal(live: Live, goal_id: str, kind: str, **more: Any) -> dict[str, Any]:
    funding = more.pop("funding", None)
    types = {"ShowFundingGoal": "show-funding", "ShowGoal": "show", "TriggerPrivateGoal": "trigger-private"}
    return {
        "session_id": live.session_id, "streamer_id": live.streamer_id, "goal_id": goal_id, "kind": kind,
        "conditions": Conditions(session_id=live.session_id),
        "context": Context(type=types[kind], session_id=live.session_id, funding_goal_id=funding),
        "levels": (Level(title="it", target=1),), "metadata": Metadata(user_id=live.streamer_id),
        "exp": live.at(600),
    } | more  # fmt: skip


def created(live: Live, goal_id: str, kind: str, **more: Any) -> GoalCreatedV1:
    return GoalCreatedV1(active=True, **goal(live, goal_id, kind, **({"nbf": live.harness.now} | more)))


def ended(live: Live, goal_id: str, kind: str, outcome: Any, **more: Any) -> GoalEndedV1:
    how: dict[str, Any] = {"active": False, "progress": 1, "ended_at": live.harness.now, "triggerer": None}
    return GoalEndedV1(outcome=outcome, **how, **goal(live, goal_id, kind, **more))


def ticket(live: Live, funding_id: str, buyer_id: str) -> GoalProgressedV1:
    earning_id = ids.new_id()
    return GoalProgressedV1(
        session_id=live.session_id, streamer_id=live.streamer_id, goal_id=funding_id, kind="ShowFundingGoal",
        user_id=buyer_id, contribution_id=earning_id, earning_id=earning_id, escrow_id=f"show_funding:{funding_id}",
        count=1, progress=1, target=1, reached=True,
    )  # fmt: skip


# -- what the answer says ----------------------------------------------------------------------------------------------


async def test_both_tokens_are_for_the_caller_this_session_and_the_room_of_the_preset(live: Live) -> None:
    await put_source(live, "free", "preview")
    await put_source(live, "paid", "sd")
    await pay(live, live.viewer_id)

    answer = await watched(live, live.viewer_id)

    said = read(answer["token"], settings(live), live.harness.now)
    room = room_tokens.read(answer["byteplus_token"], settings(live).byteplus_app_key.get_secret_value())
    assert (said.sub, said.session_id, said.preset, said.room) == (live.viewer_id, live.session_id, "sd", "paid")
    assert (room.room_id, room.user_id, room.expire_at) == ("paid", live.viewer_id, answer["exp"])
    assert set(room.privileges) == {Privilege.SUBSCRIBE_STREAM}
    assert answer["byteplus"] == {
        "app_id": settings(live).byteplus_app_id, "room_id": "paid", "user_id": live.viewer_id,
    }  # fmt: skip
    assert (answer["preset"], answer["nbf"], answer["explanation"]) == ("sd", int(unix(live.harness.now)), None)


async def test_a_free_token_never_opens_a_paid_room(live: Live) -> None:
    await put_source(live, "paid", "sd")

    answer = await watched(live, ids.new_id())

    assert (answer["preset"], answer["byteplus"], answer["byteplus_token"]) == ("preview", None, None)
    assert read(answer["token"], settings(live), live.harness.now).room is None


async def test_the_newest_source_of_a_preset_is_the_one(live: Live) -> None:
    for room, preset in (("old", "preview"), ("new", "preview"), ("paid", "sd")):
        await put_source(live, room, preset)

    assert (await watched(live, ids.new_id()))["byteplus"]["room_id"] == "new"


async def test_the_streamer_may_publish_and_nobody_else(live: Live) -> None:
    await put_source(live, "paid", "sd")
    key = settings(live).byteplus_app_key.get_secret_value()

    own = room_tokens.read((await watched(live, live.streamer_id))["byteplus_token"], key)

    assert Privilege.PUBLISH_STREAM in own.privileges


@pytest.mark.parametrize(("left", "lives"), [(300, 120), (60, 60)])
async def test_a_token_lives_two_minutes_and_never_longer_than_the_permission(
    live: Live, left: int, lives: int
) -> None:
    await pay(live, live.viewer_id, steps=left // STEP)

    answer = await watched(live, live.viewer_id)

    assert answer["exp"] - answer["nbf"] == lives


async def test_a_token_does_not_outlive_the_session(live_session: LiveOf) -> None:
    live = await live_session(SESSION_MAX_SECONDS=50)

    answer = await watched(live, ids.new_id())

    assert answer["exp"] - answer["nbf"] == 50


async def test_the_older_name_gives_the_same_answer(live: Live) -> None:
    new = await watched(live, live.viewer_id)
    old = await live.harness.client(live.viewer_id).get(f"/streams/{live.session_id}/token")

    assert old.json() == new


async def test_a_session_that_there_is_not_is_404(live: Live) -> None:
    answer = await live.harness.client(ids.new_id()).get(f"/sessions/{ids.new_id()}/token")

    assert slug(answer) == (404, "session-not-found")


async def test_explained_it_says_which_rule_granted_it_and_what_each_says(live: Live) -> None:
    await pay(live, live.viewer_id)

    plain = await watched(live, live.viewer_id)
    explained = await watched(live, live.viewer_id, "?explain=true")

    explanation = explained.pop("explanation")
    plain.pop("explanation")
    assert explained == plain
    assert explanation["granted_by"] == "paid"
    assert [(one["rule"], one["why_not"]) for one in explanation["rules"]] == [
        ("streamer", "not_the_streamer"), ("ticket", "no_ticket"), ("private", "nothing_given"), ("paid", None),
        ("pass", "no_pass"),
    ]  # fmt: skip
    assert explanation["rules"][3]["exp"] == unix(live.at(60))


# -- what ends, opens and shuts out ------------------------------------------------------------------------------------


async def test_paid_time_opens_for_as_long_as_it_lasts(live: Live) -> None:
    await pay(live, live.viewer_id)

    live.harness.clock.advance(59)
    before = await watched(live, live.viewer_id)
    live.harness.clock.advance(1)
    after = await watched(live, live.viewer_id, "?explain=true")

    assert (before["preset"], after["preset"]) == ("sd", "preview")
    assert after["explanation"]["rules"][3]["why_not"] == "over"


async def test_a_ticket_opens_its_show_and_not_the_hours_before(live: Live) -> None:
    funding, show, fan = ids.new_id(), ids.new_id(), ids.new_id()
    await live.harness.handle(created(live, funding, "ShowFundingGoal"), ticket(live, funding, fan))
    seen = [await watched(live, fan, "?explain=true")]
    over = ended(live, funding, "ShowFundingGoal", "funded")
    begins = created(live, show, "ShowGoal", funding=funding, nbf=live.at(30), exp=live.at(90))
    await live.harness.handle(over, begins)
    seen.append(await watched(live, fan, "?explain=true"))
    for seconds in (25, 60, 5):  # 5 s of leeway before it, its last five seconds, its end
        live.harness.clock.advance(seconds)
        seen.append(await watched(live, fan, "?explain=true"))

    assert [(one["preset"], one["explanation"]["rules"][1]["why_not"]) for one in seen] == [
        ("preview", "no_show"), ("preview", "not_begun"), ("sd", None), ("sd", None), ("preview", "over"),
    ]  # fmt: skip
    assert seen[3]["exp"] == unix(begins.exp)


async def test_a_show_that_was_broken_off_opens_nothing_any_more(live: Live) -> None:
    funding, show, fan = ids.new_id(), ids.new_id(), ids.new_id()
    await live.harness.handle(
        created(live, funding, "ShowFundingGoal"),
        ticket(live, funding, fan),
        created(live, show, "ShowGoal", funding=funding),
    )
    on = await watched(live, fan)

    await live.harness.handle(ended(live, show, "ShowGoal", "cancelled", funding=funding))

    assert (on["preset"], (await watched(live, fan))["preset"]) == ("sd", "preview")


async def test_an_exclusive_is_for_its_viewer_and_the_streamer_alone(live: Live) -> None:
    other = ids.new_id()
    await pay(live, other, steps=10)
    await live.agree()

    assert (await watched(live, live.viewer_id))["preset"] == "sd"
    assert (await watched(live, live.streamer_id))["preset"] == "sd"
    assert slug(await asked(live, other)) == (403, "exclusive-to-another")
    assert slug(await asked(live, ids.new_id())) == (403, "exclusive-to-another")


async def test_who_is_blocked_gets_nothing_whatever_was_paid(live: Live) -> None:
    await pay(live, live.viewer_id, steps=10)
    assert (await watched(live, live.viewer_id))["preset"] == "sd"

    await streamer(live, "PUT", f"/blocks/{live.viewer_id}")
    refused = slug(await asked(live, live.viewer_id))
    await streamer(live, "DELETE", f"/blocks/{live.viewer_id}")

    assert refused == (403, "blocked-by-streamer")
    assert (await asked(live, live.viewer_id)).status_code == 200


@pytest.mark.parametrize("how", ["ended", "past its maximum"])
async def test_a_session_that_is_over_gives_nobody_a_token(live: Live, how: str) -> None:
    assert (await watched(live, live.streamer_id))["preset"] == "sd"
    if how == "ended":
        await live.end()
    else:
        live.harness.clock.advance(43_200)

    assert slug(await asked(live, live.streamer_id)) == (410, "session-ended")
    assert slug(await asked(live, ids.new_id())) == (410, "session-ended")


# -- passes ------------------------------------------------------------------------------------------------------------


def activated(live: Live, kind: str, seconds: tuple[float, float] = (0, 600), user: str = "") -> PassActivatedV1:
    streamer_id = kind.removeprefix("livestream_pass_") if "_pass_" in kind else None
    return PassActivatedV1(
        user_id=user or live.viewer_id, pass_kind=kind, streamer_id=streamer_id,
        nbf=live.at(seconds[0]), exp=live.at(seconds[1]),
    )  # fmt: skip


async def test_a_recorded_pass_is_read(live: Live) -> None:
    recorded = json.loads((RECORDED / "pass.activated.v1.json").read_text())
    event = REGISTRY["pass.activated.v1"].model_validate_json(json.dumps(recorded["data"]))

    await live.harness.handle(event)

    (stored,) = (await live.harness.snapshot())["passes"]
    assert stored["pass_kind"] == "livestream_pass_67ff21fdb2535a8b5301708f"


async def test_a_pass_opens_every_stream_or_that_of_the_streamer_it_names(live: Live) -> None:
    everywhere, here, elsewhere = ids.new_id(), ids.new_id(), ids.new_id()
    await live.harness.handle(
        activated(live, "livestream_pass", user=everywhere),
        activated(live, f"livestream_pass_{live.streamer_id}", user=here),
        activated(live, f"livestream_pass_{ids.new_id()}", user=elsewhere),
    )

    presets = [(await watched(live, user))["preset"] for user in (everywhere, here, elsewhere)]

    assert presets == ["sd", "sd", "preview"]


async def test_a_pass_opens_from_its_nbf_to_its_exp(live: Live) -> None:
    await live.harness.handle(activated(live, "livestream_pass", (30, 70)))

    seen = [(await watched(live, live.viewer_id))["preset"]]
    for seconds in (25, 44, 1):
        live.harness.clock.advance(seconds)
        seen.append((await watched(live, live.viewer_id))["preset"])

    assert seen == ["preview", "sd", "sd", "preview"]


async def test_of_two_passes_the_longer_one_counts(live: Live) -> None:
    short = activated(live, "livestream_pass", (0, 30))
    await live.harness.handle(short, activated(live, f"livestream_pass_{live.streamer_id}", (0, 90)))

    answer = await watched(live, live.viewer_id)

    assert answer["exp"] - answer["nbf"] == 90


async def test_the_last_word_on_a_pass_counts_whatever_comes_later(live: Live) -> None:
    first, last = activated(live, "livestream_pass", (0, 30)), activated(live, "livestream_pass", (0, 90))

    await live.harness.handle(last, at=live.at(1))
    await live.harness.handle(first, at=live.at(0))
    await live.harness.handle(last, at=live.at(1))

    answer = await watched(live, live.viewer_id)
    assert answer["exp"] - answer["nbf"] == 90


# -- answers that are kept ---------------------------------------------------------------------------------------------


async def test_an_answer_is_given_again_whole_for_half_of_its_life(live: Live) -> None:
    first = await watched(live, live.viewer_id)
    live.harness.clock.advance(50)
    again = await watched(live, live.viewer_id)
    live.harness.clock.advance(10)
    anew = await watched(live, live.viewer_id)

    assert again == first
    assert anew["token"] != first["token"]


async def test_what_concerns_another_viewer_leaves_an_answer_as_it_is(live: Live) -> None:
    first = await watched(live, live.viewer_id)

    await pay(live, ids.new_id())
    await live.harness.handle(activated(live, "livestream_pass", user=ids.new_id()))

    assert await watched(live, live.viewer_id) == first


async def test_answers_are_bounded(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ANSWERS_MAX", 2)
    first = await watched(live, live.viewer_id)
    for _ in range(2):
        await watched(live, ids.new_id())

    assert (await watched(live, live.viewer_id))["token"] != first["token"]


async def test_many_who_ask_at_once_each_get_their_own(live: Live) -> None:
    users = [ids.new_id() for _ in range(50)]
    await asyncio.gather(*(pay(live, user) for user in users[:5]))

    found = await asyncio.gather(*(watched(live, user) for user in users))

    assert [read(one["token"], settings(live), live.harness.now).sub for one in found] == users
    assert [one["preset"] for one in found] == ["sd"] * 5 + ["preview"] * 45


async def test_no_replica_ever_gives_an_answer_that_is_stale(live: Live) -> None:
    """Whatever is committed before a request comes is in its answer, whoever is asked."""
    runtime = live.harness.runtime
    other = await ServiceHarness.start(SERVICE, runtime.mongo, runtime.database, clock=runtime.clock)
    viewer, path = live.viewer_id, f"/blocks/{live.viewer_id}"
    changes: list[tuple[Callable[[], Awaitable[Any]], tuple[int, str]]] = [
        (lambda: streamer(live, "PUT", path), (403, "")),
        (lambda: streamer(live, "DELETE", path), (200, "preview")),
        (lambda: pay(live, viewer), (200, "sd")),
        (lambda: _pass_seconds(live, 61), (200, "preview")),
        (lambda: put_source(live, "room", "preview"), (200, "room")),
        (lambda: streamer(live, "DELETE", f"/sessions/{live.session_id}/sources/room"), (200, "None")),
    ]

    for number in range(120):
        change, (status, expected) = changes[number % len(changes)]
        await change()
        for harness in (other, live.harness) if number % 2 else (live.harness, other):
            answer = await asked(live, viewer, harness=harness)
            said = answer.json()
            shown = [said.get("preset", ""), str((said.get("byteplus") or {}).get("room_id"))]
            assert answer.status_code == status, (number, said)
            assert not expected or expected in shown, (number, said)
    await other.runtime.outside.http.close()


async def _pass_seconds(live: Live, seconds: float) -> None:
    live.harness.clock.advance(seconds)


async def test_who_goes_away_takes_nobody_with_them(live: Live) -> None:
    asking = asyncio.create_task(asked(live, live.viewer_id))
    others = [asyncio.create_task(watched(live, ids.new_id())) for _ in range(10)]
    await asyncio.sleep(0)
    asking.cancel()

    assert [(await one)["preset"] for one in others] == ["preview"] * 10
    with pytest.raises(asyncio.CancelledError):
        await asking
