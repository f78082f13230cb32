"""What each may see: of every push that exists, the fields by who reads them. A field that nobody put here fails it.

Every event that the notifier hears is made with every field that it can have, so that whatever could be seen is seen:
goals of each kind, permissions for each reason. What is read on `presence-stream@` and `private-stream@` is read by
everybody who is not blocked, a stranger among them; the rest by the one whose channel it is. Each push has besides
`event_id`, `at` and `seq`. What a client reads of an invitation or a 1-on-1 (SPEC §2) stands under *between two*.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, get_args

from chassis import ids
from chassis_testing.service import ServiceHarness
from chassis_testing.visible import difference, names_of, table
from contracts import (
    Event,
    GiftSentV1,
    GoalEndedV1,
    GoalProgressedV1,
    SessionGoalAddedV1,
    SessionStartedV1,
    SessionViewerAuthorizedV1,
)
from contracts.goals import GoalKind
from contracts.sessions import AuthorizationReason
from notifier.domain.cuts import Cut, CutWatchers
from notifier.domain.pushes import Push
from notifier.domain.table import TABLE
from notifier.service import SERVICE as NOTIFIER

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

STREAMER, VIEWER, SESSION = "5" * 24, "7" * 24, "9" * 24
READERS = {
    f"presence-stream@{STREAMER}": "everybody",
    f"private-stream@{STREAMER}": "everybody",
    f"private-user@{STREAMER}": "streamer",
    f"private-user@{VIEWER}": "viewer",
    f"presence-stream-viewer@{STREAMER}.preview.{VIEWER}": "viewer",
    f"presence-stream-viewer@{STREAMER}.sd.{VIEWER}": "viewer",
}
ON_EVERY_PUSH = {"event_id", "at", "seq"}
BETWEEN_TWO = ("TriggerExclusiveGoal", "ExclusiveGoal")
IN_A_1_ON_1 = "d" * 24  # a song that its viewer has asked for, and its gift

PUSHES = """
goal.added: everybody, streamer
  session_id streamer_id goal_id kind conditions.session_id context.discount_percentage context.funding_goal_id
  context.gift_id context.hesitation_countdown context.perform_duration context.product_id context.sender_id
  context.session_id context.show_goal_id context.ticket_product_id context.ticket_product_type context.type exp
  levels[].target levels[].title nbf

goal.added between two: everybody
  session_id streamer_id goal_id kind conditions.session_id context.session_id context.type exp

goal.added between two: streamer, viewer
  session_id streamer_id goal_id kind conditions.exclusive_to conditions.session_id context.discount_percentage
  context.duration context.exclusive_goal_id context.exclusive_to context.funding_goal_id context.gift_id
  context.hesitation_countdown context.perform_duration context.product_id context.sender_id context.session_id
  context.show_goal_id context.ticket_product_id context.ticket_product_type context.trigger_exclusive_goal_id
  context.type exp levels[].target levels[].title nbf

goal.progress.updated: everybody, streamer
  session_id streamer_id goal_id kind count progress reached target user_id

goal.extended: everybody
  session_id streamer_id goal_id exp

goal.extended: streamer
  session_id streamer_id goal_id duration exp nbf

goal.extended: viewer
  session_id streamer_id goal_id payment_id duration exp nbf

goal.ended: everybody, streamer
  session_id streamer_id goal_id kind active conditions.session_id context.discount_percentage context.funding_goal_id
  context.gift_id context.hesitation_countdown context.perform_duration context.product_id context.sender_id
  context.session_id context.show_goal_id context.ticket_product_id context.ticket_product_type context.type ended_at
  exp levels[].target levels[].title metadata.user_id outcome progress

goal.ended between two: everybody
  session_id streamer_id goal_id kind active conditions.session_id context.session_id context.type ended_at exp
  metadata.user_id outcome

goal.ended between two: streamer, viewer
  session_id streamer_id goal_id kind active conditions.exclusive_to conditions.session_id context.discount_percentage
  context.duration context.exclusive_goal_id context.exclusive_to context.funding_goal_id context.gift_id
  context.hesitation_countdown context.perform_duration context.product_id context.sender_id context.session_id
  context.show_goal_id context.ticket_product_id context.ticket_product_type context.trigger_exclusive_goal_id
  context.type ended_at exp levels[].target levels[].title metadata.agreed metadata.prepaid_duration metadata.user_id
  outcome progress

exclusive.closed between two: streamer, viewer
  session_id streamer_id goal_id kind active conditions.exclusive_to conditions.session_id context.discount_percentage
  context.duration context.exclusive_goal_id context.exclusive_to context.funding_goal_id context.gift_id
  context.hesitation_countdown context.perform_duration context.product_id context.sender_id context.session_id
  context.show_goal_id context.ticket_product_id context.ticket_product_type context.trigger_exclusive_goal_id
  context.type ended_at exp levels[].target levels[].title metadata.agreed metadata.prepaid_duration metadata.user_id
  outcome progress

goal.rejected: viewer
  session_id streamer_id goal_id kind reason user_id

session.updated: everybody
  session_id streamer_id active exclusive preset prices.exclusive prices.sd

session.ended: everybody
  session_id streamer_id active exclusive preset prices.exclusive prices.sd

stream.authorized: viewer
  session_id streamer_id goal_id gift_id payment_id duration exclusive_goal_id exp nbf preset reason

stream.revoked: viewer
  session_id streamer_id goal_id gift_id payment_id exclusive_goal_id reason remaining.exp remaining.nbf
  remaining.private remaining.ticket

gift.sent between two: streamer, viewer
  session_id streamer_id goal_id gift_id amount_diamonds categories count duration funding_goal_id product_id
  sender_id

gift.sent: everybody, viewer
  session_id streamer_id goal_id gift_id amount_diamonds categories count duration funding_goal_id product_id
  sender_id

gift.failed: viewer
  session_id streamer_id goal_id gift_id amount_diamonds categories count duration funding_goal_id product_id reason
  sender_id

payment.failed: viewer
  session_id streamer_id gift_id payment_id amount_diamonds duration exclusive_goal_id payer_id preset purpose reason

payment.reversed: viewer
  session_id streamer_id gift_id payment_id amount_diamonds duration exclusive_goal_id payer_id preset purpose reason

escrow.failed: viewer
  session_id streamer_id goal_id gift_id amount_diamonds buyer_id reason

escrow.completed: viewer
  session_id streamer_id goal_id gift_id amount_diamonds buyer_id reason

order.paid: viewer
  order_id amount currency gateway items[].diamonds items[].item_id items[].pass_kind items[].product_id
  items[].quantity items[].subtype user_id

order.refunded: viewer
  order_id amount currency gateway items[].activated items[].diamonds items[].item_id items[].pass_kind
  items[].product_id items[].quantity items[].subtype payment reason user_id

pass.activated: viewer
  streamer_id exp nbf pass_kind user_id
"""
NEVER = {"triggerer", "earning_id", "escrow_id", "contribution_id", "sources", "task_id", "room_id", "client_id"}


def test_the_table_names_nothing_that_never_leaves() -> None:
    named = {name for fields in table(PUSHES).values() for name in fields}

    assert not {name for name in named if NEVER & set(name.replace("[]", "").split("."))}


async def test_of_every_push_each_reader_sees_the_fields_that_stand_here_and_no_other(harness_of: HarnessOf) -> None:
    notifier = await harness_of(NOTIFIER)
    for event in everything():
        await notifier.handle(event)
        await notifier.run_timers()
    seen: dict[str, set[str]] = defaultdict(set)
    for push in await notifier.effects():
        if isinstance(push, Cut | CutWatchers):
            continue
        assert isinstance(push, Push)
        data = json.loads(push.data)
        assert data.keys() >= ON_EVERY_PUSH
        between_two = data.get("kind") in BETWEEN_TWO or IN_A_1_ON_1 in (data.get("goal_id"), data.get("gift_id"))
        label = f"{push.name} between two" if between_two else push.name
        reader = READERS[push.channel]
        seen[f"{label}: {reader}"] |= names_of(data) - ON_EVERY_PUSH
        assert not (reader == "everybody" and between_two and VIEWER in push.data)

    assert difference(seen, table(PUSHES)) == []
    assert {row.push for row in TABLE} == {line.split(":")[0].removesuffix(" between two") for line in seen}


# -- every event, whole ------------------------------------------------------------------------------------------------


def everything() -> Iterator[Event]:
    """Every event that the notifier hears: a scenario of goals of every kind, and of permissions for every reason."""
    yield whole(SessionStartedV1, active=True, exclusive_to=[])
    for reason in get_args(AuthorizationReason):
        yield whole(SessionViewerAuthorizedV1, reason=reason)
    funding = ids.new_id()
    for of in (SessionGoalAddedV1, GoalProgressedV1, GoalEndedV1):
        for kind in get_args(GoalKind):
            goal_id = funding if (kind, of) == ("ShowFundingGoal", SessionGoalAddedV1) else ids.new_id()
            event = whole(of, kind=kind, goal_id=goal_id)
            yield _for_two(event, kind in BETWEEN_TWO, funding)
            if of is SessionGoalAddedV1:  # a ticket: before its show, and while it is on
                yield whole(SessionViewerAuthorizedV1, reason="ticket", goal_id=funding)
    for of in (SessionGoalAddedV1, GoalEndedV1):
        yield _for_two(whole(of, kind="KaraokeGoal", goal_id=IN_A_1_ON_1), True, funding)  # noqa: FBT003 - as below
    yield whole(GiftSentV1, gift_id=IN_A_1_ON_1)
    yield whole(GiftSentV1, exclusive_to=None)
    of_all = {row.subject for row in NOTIFIER.handlers if issubclass(row.subject, Event)}
    told = {SessionStartedV1, SessionViewerAuthorizedV1, SessionGoalAddedV1, GoalProgressedV1, GoalEndedV1, GiftSentV1}
    for other in sorted(of_all - told, key=lambda one: one.TYPE):
        yield whole(other)


def _for_two(event: Any, between_two: bool, funding_goal_id: str) -> Any:  # noqa: FBT001 - said by its name
    """A goal that is for everybody names nobody; a show names its funding."""
    if not hasattr(event, "conditions"):
        return event
    exclusive_to = VIEWER if between_two else None
    conditions = event.conditions.model_copy(update={"exclusive_to": exclusive_to})
    changes = {
        "conditions": conditions,
        "context": event.context.model_copy(update={"funding_goal_id": funding_goal_id}),
    }
    if metadata := getattr(event, "metadata", None):
        changes["metadata"] = metadata.model_copy(update={"user_id": STREAMER})
    return event.model_copy(update=changes)


def whole(of: type[Event], **values: Any) -> Any:
    """An event of this class in which every field is set, these to `values`."""
    schema = of.model_json_schema()
    data = _value(schema, "", schema.get("$defs", {}))
    return of.model_validate_json(json.dumps(data | values))


PEOPLE = {"streamer_id": STREAMER, "session_id": SESSION}
WORDS = ("a" * 24, "show_funding:" + "a" * 24, "livestream_pass", "TWD", "a-word")


def _value(schema: Mapping[str, Any], name: str, defs: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one per type
    if "$ref" in schema:
        return _value(defs[schema["$ref"].rpartition("/")[2]], name, defs)
    if "anyOf" in schema:
        return _value(next(one for one in schema["anyOf"] if one.get("type") != "null"), name, defs)
    if "const" in schema:
        return schema["const"]
    if known := schema.get("enum") or schema.get("x-known-values"):
        return known[0]
    match schema["type"]:
        case "object":
            return {field: _value(one, field, defs) for field, one in schema["properties"].items()}
        case "array":
            return [_value(schema["items"], name, defs)]
        case "integer":
            return 1
        case "boolean":
            return True
        case _ if schema.get("format") == "date-time":
            return "2026-11-21T20:00:00.000Z"
        case _:
            return PEOPLE.get(name) or _word(schema, name)


def _word(schema: Mapping[str, Any], name: str) -> str:
    pattern = schema.get("pattern", "")
    if pattern == "^[0-9a-f]{24}$":
        theirs = ("viewer", "user_id", "payer", "buyer", "sender", "exclusive_to")
        return VIEWER if name.startswith(theirs) else "a" * 24
    return next(word for word in WORDS if re.search(pattern, word))
