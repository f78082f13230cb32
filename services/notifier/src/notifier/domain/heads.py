"""How many watch: a count for each session and preset (SPEC §6).

Pusher knows who is there, and we keep numbers alone: no document for each viewer. What its webhooks say is lost, late,
repeated and overtaken, so they are taken for hints: soon after one, and every half minute besides, Pusher is asked how
many there are, and its answer counts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis.decision import At, Call, Decision, Effect, Timer, derived_id
from contracts import PresenceCountedV1
from contracts.values import Preset
from notifier.domain.channels import channel_of

SOON = timedelta(seconds=1)  # after a hint: many come and go at once, and one question counts them all
AGAIN = timedelta(seconds=30)  # without any hint: so late does a lost one heal


TELLING = frozenset(
    {"channel_occupied", "channel_vacated", "member_added", "member_removed", "subscription_count"}
)  # those of Pusher's webhooks that say that somebody came or went


class HeadsDue(Timer, name="heads-due"):
    """The viewers of a session are to be counted."""

    session_id: str


class CountHeads(Effect, name="count-heads"):
    """Ask Pusher how many watch a streamer's session."""

    session_id: str
    streamer_id: str


@dataclass(frozen=True, slots=True)
class Heads:
    """What Pusher says: how many listen to a streamer, and how many of them where only who is entitled may."""

    audience: int
    paid: int


@dataclass(frozen=True, slots=True)
class HeadCount:
    """How many watch a session, whose id this has, by preset; `due` is when they are counted next."""

    id: str
    streamer_id: str
    due: datetime
    ended: datetime | None = None
    preview: int = 0
    sd: int = 0


def streamers_of(happened: Iterable[tuple[str, str]]) -> list[str]:
    """Whose viewers came or went, of webhooks and their channels. Anybody can listen to a name that is not ours, and
    everybody waits on their own channels: neither is anybody's head count.
    """
    streamers: dict[str, None] = {}
    for name, channel_name in happened:
        channel = channel_of(channel_name) if name in TELLING else None
        if channel is not None and channel.kind != "private-user" and channel.preset != "preview":
            streamers[channel.owner_id] = None
    return list(streamers)


def began(session_id: str, streamer_id: str, now: datetime) -> Decision[HeadCount]:
    """A session begins: from now on its viewers are counted."""
    return _due(HeadCount(session_id, streamer_id, now), now + SOON)


def hinted(known: HeadCount, now: datetime) -> Decision[HeadCount]:
    """Somebody came or went: count soon, unless that is so already."""
    if known.ended or known.due <= now + SOON:
        return Decision(None)
    return _due(known, now + SOON)


def due(known: HeadCount, now: datetime) -> Decision[HeadCount]:
    """It is time to count, and to set the time for the next count: what is not answered by then is not waited for."""
    if known.ended:
        return Decision(None)
    next_due = now + AGAIN
    question = CountHeads(session_id=known.id, streamer_id=known.streamer_id)
    id_ = derived_id(question.NAME, known.id, known.due.isoformat())
    return _due(known, next_due).then(effects=(Call(question, id=id_, key=f"heads:{known.id}", not_after=next_due),))


def counted(known: HeadCount, heads: Heads) -> Decision[HeadCount]:
    """Pusher has answered: what has changed is told. Who pays is no less there for not listening where all do."""
    if known.ended:
        return Decision(None)
    state = replace(known, preview=max(heads.audience - heads.paid, 0), sd=heads.paid)
    return Decision(state if state != known else None, events=tuple(_changes(known, state)))


def ended(known: HeadCount, at: datetime) -> HeadCount:
    """The session has ended: nobody watches."""
    return replace(known, ended=at, preview=0, sd=0)


def _changes(known: HeadCount, state: HeadCount) -> Iterator[PresenceCountedV1]:
    before: dict[Preset, int] = {"preview": known.preview, "sd": known.sd}
    now: dict[Preset, int] = {"preview": state.preview, "sd": state.sd}
    for preset, viewers in now.items():
        if viewers != before[preset]:
            yield PresenceCountedV1(session_id=state.id, streamer_id=state.streamer_id, preset=preset, viewers=viewers)


def _due(known: HeadCount, at: datetime) -> Decision[HeadCount]:
    timer = HeadsDue(session_id=known.id)
    return Decision(
        replace(known, due=at), timers=(At(timer, id=derived_id(timer.NAME, known.id), due=at, key=known.id),)
    )
