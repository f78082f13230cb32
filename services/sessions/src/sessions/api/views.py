"""What sessions and payments look like, and to whom: named fields for each role, so none is shown by accident.

An exclusive is its two people's (SPEC §2): to everybody else a session says that it is exclusive, not to whom.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from chassis.http import UnixTime
from chassis.http.auth import Caller
from contracts import Preset, Prices
from sessions.domain import payments
from sessions.domain.blocks import Block
from sessions.domain.payments import Payment
from sessions.domain.session import Session, ShowPair
from sessions.store.load import Listed

OPERATOR = "OPS"


@dataclass(frozen=True, slots=True)
class SessionId:
    """The session that began."""

    session_id: str


@dataclass(frozen=True, slots=True)
class StatusesView:
    """When it began and ended."""

    created: UnixTime
    ended: UnixTime | None


@dataclass(frozen=True, slots=True)
class StatusView:
    """To whom alone it belongs now, as far as the caller may know: the streamer, and who it is."""

    exclusive_to: list[str]


@dataclass(frozen=True, slots=True)
class ExclusivePairView:
    """A viewer's invitation and the exclusive that followed."""

    trigger_exclusive_goal: str
    trigger_exclusive_goal_agreed: UnixTime | None
    trigger_exclusive_goal_ended: UnixTime | None
    exclusive_goal: str | None
    exclusive_goal_ended: UnixTime | None


@dataclass(frozen=True, slots=True)
class ShowPairView:
    """A funding and the show that followed."""

    funding_goal: str
    show_goal: str | None
    funding_ended: UnixTime | None
    show_ended: UnixTime | None


@dataclass(frozen=True, slots=True)
class SourceView:
    """A camera or encoder in a room, and the snapshot task that watches it: the streamer's and operators' alone."""

    room_id: str
    session_id: str
    task_id: str
    kind: str
    preset: str


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session. `exclusive` says whether it is somebody's alone; pairs are shown to their own two people.

    It is over at `exp` at the latest, and nothing is sold that would end later.
    """

    id: str
    streamer_id: str
    title: str | None
    active: bool
    preset: Preset
    prices: Prices
    statuses: StatusesView
    exp: UnixTime | None
    exclusive: bool
    status: StatusView
    show_goal_pairs: list[ShowPairView]
    exclusive_goal_pairs: Mapping[str, ExclusivePairView]
    sources: list[SourceView]


@dataclass(frozen=True, slots=True)
class SessionLineView:
    """A session in a list: what is on air, without its goals."""

    id: str
    streamer_id: str
    title: str | None
    active: bool
    preset: Preset
    prices: Prices
    statuses: StatusesView
    exp: UnixTime | None
    exclusive: bool


@dataclass(frozen=True, slots=True)
class PaymentAsked:
    """The payment to follow, and what it costs."""

    payment_id: str
    amount_diamonds: int


@dataclass(frozen=True, slots=True)
class PaymentView:
    """What became of a payment: `reason` says why it failed, or why some of it, or all, goes back."""

    payment_id: str
    session_id: str
    streamer_id: str
    duration: int
    status: payments.Status
    amount_diamonds: int
    reversed_diamonds: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class BlockView:
    """Whom a streamer blocks, since when."""

    viewer_id: str
    at: UnixTime


def view_of(session: Session, caller: Caller, now: datetime) -> SessionView:
    """The session as `caller` may see it."""
    own = caller.user_id == session.streamer_id
    exclusive_to = session.exclusive_to if session.is_on(now) else ()

    def is_shown(viewer_id: str) -> bool:
        return own or viewer_id == caller.user_id

    return SessionView(
        id=session.id,
        streamer_id=session.streamer_id,
        title=session.title,
        active=session.is_on(now),
        preset=session.preset,
        prices=session.prices,
        statuses=StatusesView(session.created, session.over_at(now)),
        exp=session.exp,
        exclusive=bool(exclusive_to),
        status=StatusView([viewer_id for viewer_id in exclusive_to if is_shown(viewer_id)]),
        show_goal_pairs=[_show_pair(pair) for pair in session.show_goal_pairs],
        exclusive_goal_pairs={
            viewer_id: ExclusivePairView(**asdict(pair))
            for viewer_id, pair in session.exclusive_goal_pairs.items()
            if is_shown(viewer_id)
        },
        sources=[
            SourceView(
                source.room_id, source.session_id, source.task_id, source.kind, session.preset_in(source.room_id)
            )
            for source in session.sources
            if own or OPERATOR in caller.scopes
        ],
    )


def _show_pair(pair: ShowPair) -> ShowPairView:
    return ShowPairView(pair.funding_goal, pair.show_goal, pair.funding_ended, pair.show_ended)


def line_of(session: Listed, now: datetime) -> SessionLineView:
    """The session in a list, which is the same for everybody."""
    return SessionLineView(
        id=session.id,
        streamer_id=session.streamer_id,
        title=session.title,
        active=session.active and (session.exp is None or now < session.exp),
        preset=session.preset,
        prices=session.prices,
        statuses=StatusesView(session.created, session.ended),
        exp=session.exp,
        exclusive=session.exclusive,
    )


def block_view(block: Block) -> BlockView:
    """The block as its streamer sees it."""
    return BlockView(block.viewer_id, block.at)


def payment_view(payment: Payment) -> PaymentView:
    """The payment as its payer sees it."""
    return PaymentView(
        payment.id,
        payment.session_id,
        payment.streamer_id,
        payment.duration,
        payment.status,
        payment.amount_diamonds,
        payment.reversed_diamonds,
        payment.reason or payment.reversal,
    )
