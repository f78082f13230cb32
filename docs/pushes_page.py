"""docs/pushes.md: every push that a client can hear, from the notifier's own table.

What is shown is made by the code that pushes: an event that is recorded in libs/contracts (or a variant of one, where
a push depends on it) goes through its row, and the page has the channels and the data that come out. A test holds that
each push and each audience of the table is on the page.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from contracts import REGISTRY, Event, SessionGoalAddedV1, SessionViewerAuthorizedV1, attributes_of
from contracts.examples import example
from notifier.domain import shows
from notifier.domain.entitlement import Permit
from notifier.domain.pushes import DATA_BYTES_MAX, KEPT, STALE, Part, Push, PushCause, push
from notifier.domain.table import TABLE, Row
from notifier.handlers.pushes import AUTHORIZED

Edits = Mapping[str, Any]

_FUNDING: Final = example("goal.created.v1")["data"]
_ENDED: Final = {"active": False, "progress": 12, "ended_at": "2026-11-21T20:30:10.123Z", "outcome": "funded"}
_TWO: Final = {"kind": "ExclusiveGoal", "exp": "2026-11-21T20:07:02.123Z"}
_SHOW: Final = {
    "kind": "ShowGoal",
    "conditions": _FUNDING["conditions"],
    "context": {**_FUNDING["context"], "type": "show", "funding_goal_id": _FUNDING["goal_id"]},
}
_OPEN: Final = {name: _FUNDING[name] for name in ("goal_id", "kind", "conditions", "context", "levels", "exp")}
_TICKET: Final = {"nbf": None, "exp": None, "duration": None}
_ALL: Final[Sequence[tuple[str, Edits]]] = (("", {}),)

VARIANTS: Final[Mapping[str, Sequence[tuple[str, Edits]]]] = {
    "goal.added": (("A funding, a show, a private goal, a song", _OPEN), ("An invitation or a 1-on-1", _TWO)),
    "goal.ended": (
        ("A funding, a show, a private goal, a song", {**_OPEN, **_ENDED, "metadata": _FUNDING["metadata"]}),
        ("An invitation or a 1-on-1", {}),
    ),
    "exclusive.closed": (("", {"kind": "ExclusiveGoal", "outcome": "completed"}),),
    "gift.sent": (
        ("", {}),
        ("While the session is one viewer's alone", {"exclusive_to": example("gift.sent.v1")["data"]["sender_id"]}),
    ),
    AUTHORIZED: (
        ("The streamer has agreed to an invitation, or a 1-on-1 has ended before the time bought", {}),
        ("A 1-on-1 was extended", {"reason": "extended"}),
        ("Minutes were paid, or a private goal was kept", {"reason": "paid"}),
    ),
}
"""What a push depends on beside its event's type: in words, and what is different in the recorded event."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What some channels show of one event, exactly as it is pushed."""

    channels: tuple[str, ...]
    data: str


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a push, and what it shows to whom."""

    of: str
    event_type: str
    shown: tuple[Shown, ...]


def event_of(type_: str, edits: Edits) -> tuple[Event, PushCause]:
    """The recorded event of a type with these edits, and as the cause of a push at once."""
    record = example(type_)
    attributes = attributes_of([(name, value.encode()) for name, value in record["headers"].items()])
    event = REGISTRY[type_].model_validate_json(json.dumps({**record["data"], **edits}))
    return event, PushCause(attributes.id, attributes.time, attributes.time)


def cases(row: Row[Any]) -> Iterator[Case]:
    """Each case of one row of the table."""
    for of, edits in VARIANTS.get(row.push, _ALL):
        event, cause = event_of(row.event.TYPE, edits)
        yield Case(of, row.event.TYPE, _shown(row.push, row.parts(event), event, cause))


def further_cases() -> Iterator[Case]:
    """Those of `stream.authorized` that stand in no row: they depend on what the notifier remembers."""
    show, cause = event_of(SessionGoalAddedV1.TYPE, _SHOW)
    two, _ = event_of(SessionGoalAddedV1.TYPE, _TWO)
    ticket, later = event_of(SessionViewerAuthorizedV1.TYPE, {"reason": "ticket", **_TICKET})
    assert isinstance(show, SessionGoalAddedV1)
    assert isinstance(two, SessionGoalAddedV1)
    assert isinstance(ticket, SessionViewerAuthorizedV1)
    holder = Permit(f"{show.session_id}:{ticket.viewer_id}", cause.at)
    paid = Permit(holder.id, cause.at, nbf=cause.at, exp=cause.at + timedelta(seconds=360))
    for of, parts, event, why in (
        ("A show begins: each ticket holder", shows.to_holders(show, [holder]), show, cause),
        ("A 1-on-1 begins: its viewer", shows.to_its_viewer(two, paid), two, cause),
        ("A ticket was bought while its show is on", shows.to_buyer(ticket), ticket, later),
    ):
        yield Case(of, event.TYPE, _shown(AUTHORIZED, parts, event, why, ticket.viewer_id))


def _shown(
    name: str, parts: Sequence[Part], event: Event, cause: PushCause, viewer_id: str | None = None
) -> tuple[Shown, ...]:
    channels: dict[str, list[str]] = {}
    for call in push(name, [part for part in parts if part.channels], {}, cause).calls:
        assert isinstance(call.effect, Push)
        channels.setdefault(call.effect.data, []).append(_with_roles(call.effect.channel, event, viewer_id))
    return tuple(Shown(tuple(dict.fromkeys(names)), data) for data, names in channels.items())


def _with_roles(channel: str, event: Event, viewer_id: str | None) -> str:
    """`private-user@{buyer}` in place of an id: what the event calls that user."""
    data = event.model_dump()
    alone = (viewer_id, data.get("conditions", {}).get("exclusive_to"), *data.get("viewers", ()))
    roles = {id_: "viewer" for id_ in alone if id_}
    users = ("streamer_id", "viewer_id", "payer_id", "buyer_id", "sender_id", "user_id")
    roles |= {data[name]: name.removesuffix("_id") for name in reversed(users) if data.get(name)}
    for id_, role in roles.items():
        channel = channel.replace(id_, f"{{{role}}}")
    return channel


# -- the page ----------------------------------------------------------------------------------------------------------


_INTRODUCTION: Final = f"""\
# Pushes

Written by `{{command}}` from the notifier's table; CI fails when it is stale. What a client hears on its channels at
Pusher, with the data as they are sent; [pushes.d.ts](pushes.d.ts) has the same as types.

| channel | who may listen |
|---|---|
| `private-user@{{{{user}}}}` | that user |
| `private-stream@{{{{streamer}}}}`, `presence-stream@{{{{streamer}}}}` | whoever is signed in and not blocked |
| `presence-stream-viewer@{{{{streamer}}}}.preview.{{{{viewer}}}}` | that viewer |
| `presence-stream-viewer@{{{{streamer}}}}.sd.{{{{viewer}}}}` | that viewer, while entitled |

Every push has `event_id`, the `ce_id` of the event that it tells of; `at`, when that was decided; and `seq`, which
rises on each channel, with gaps. Times are Unix seconds.

- A push may come twice, with the same `event_id` and `seq`: skip it.
- Data over {DATA_BYTES_MAX} bytes are replaced by `event_id`, `at`, `seq` and `fetch`: where to get them.
- A stream is not told any more what has waited for {STALE.seconds} s. What is pushed on `private-user@` is kept for
  {KEPT.days} days, and `GET /notifications?after={{{{seq}}}}` gives it to a client that was away.
- A field without a value is left out, unless its type says that it can be null.
- Fields and pushes may be added: ignore those that you do not know."""


def markdown(command: str) -> str:
    """The page for people."""
    lines = [_INTRODUCTION.format(command=command)]
    for name, rows in by_name().items():
        lines += ["", f"## {name}"]
        further = list(further_cases()) if name == AUTHORIZED else []
        for case in (*(case for row in rows for case in cases(row)), *further):
            lines += _case(case)
    return "\n".join(lines) + "\n"


def _case(case: Case) -> Iterator[str]:
    what = f"On [`{case.event_type}`](events.md): {summary(REGISTRY[case.event_type])}"
    yield from ("", f"**{case.of}.** {what}" if case.of else what)
    for shown in case.shown:
        yield from ("", ", ".join(f"`{channel}`" for channel in shown.channels), "")
        yield from ("```json", json.dumps(json.loads(shown.data), indent=2, ensure_ascii=False), "```")


def summary(event: type[Event]) -> str:
    """The first paragraph of what an event says of itself, on one line."""
    return " ".join((event.__doc__ or "").partition("\n\n")[0].split())


def by_name() -> dict[str, list[Row[Any]]]:
    """The rows of the table by what they are pushed as."""
    rows: dict[str, list[Row[Any]]] = {}
    for row in TABLE:
        rows.setdefault(row.push, []).append(row)
    return rows
