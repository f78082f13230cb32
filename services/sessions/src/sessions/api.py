"""Sessions, blocks and payments by the minute over HTTP."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Path, Query
from pydantic import Field

from chassis import ids
from chassis.http import Body, CallerDep, Page, PageDep, TxDep, TxRouter, UnixTime, paged
from chassis.tx import Tx
from contracts import Preset, Prices, Source, ViewerBlockedV1, ViewerUnblockedV1
from contracts.values import Diamonds, LegibleTitle, ObjectIdStr, Price, Token
from sessions import store
from sessions.domain import payments
from sessions.domain import session as domain
from sessions.domain.blocks import Block, BlockOfOneself, block_id
from sessions.domain.ending import end_session
from sessions.domain.minutes import MinutesLeft
from sessions.domain.payments import Payment
from sessions.domain.session import HeadCount, Session
from sessions.settings import SessionsSettings

router = TxRouter(tags=["sessions"])

RoomId = Annotated[str, Path(pattern=r"^[A-Za-z0-9@._-]{1,128}$", description="A room of the vendor's")]

COMMAND_REFUSALS = (domain.SessionNotFound, domain.NotYourSession, domain.SessionOver)
PAY_REFUSALS = (
    payments.NotWholeSteps,
    payments.OwnSession,
    payments.BlockedByStreamer,
    domain.SessionOver,
    payments.ExclusiveToAnother,
    payments.ExclusiveNotYetStarted,
    payments.PriceNotSet,
    payments.SessionTooShort,
    payments.PriceChanged,
)


class PricesBody(Body):
    """Diamonds per step. A price that is null, or was never given, is not for sale."""

    sd: Price | None = None
    exclusive: Price | None = None


class StartSession(Body):
    """A broadcast begins."""

    prices: PricesBody
    preset: Preset = "preview"
    title: LegibleTitle | None = None


class ChangeSession(Body):
    """What is given is set; of the prices, too, only those that are given."""

    prices: PricesBody = PricesBody()
    preset: Preset | None = None
    title: LegibleTitle | None = None


class PutSource(Body):
    """A camera in a room."""

    kind: Token = "camera"


A_CAMERA = PutSource()


class Pay(Body):
    """Seconds to buy: whole steps, 1 to 60 of them; `max_amount_diamonds` is what they may cost, whatever the price."""

    duration: Annotated[int, Field(ge=1, le=payments.STEPS_MAX * 3_600)]
    max_amount_diamonds: Diamonds | None = None


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
    """To whom alone it belongs now; to everyone, when empty."""

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
class SessionView:
    """A session as anyone may see it."""

    id: str
    streamer_id: str
    title: str | None
    active: bool
    preset: Preset
    prices: Prices
    statuses: StatusesView
    status: StatusView
    show_goal_pairs: list[ShowPairView]
    exclusive_goal_pairs: Mapping[str, ExclusivePairView]
    sources: list[Source]


@dataclass(frozen=True, slots=True)
class PaymentAsked:
    """The payment to follow, and what it costs."""

    payment_id: str
    amount_diamonds: int


@dataclass(frozen=True, slots=True)
class PaymentView:
    """What became of a payment: `reason` says why it failed, or why some of it, or all, goes back."""

    payment_id: str
    status: payments.Status
    amount_diamonds: int
    reversed_diamonds: int
    reason: str | None


@router.post("/sessions", status_code=201, scope="CREATOR", refuses=(domain.SessionAlreadyActive,))
async def start_session(body: StartSession, caller: CallerDep, tx: TxDep) -> SessionId:
    """Go on air. A streamer has one active session."""
    session = Session(
        id=ids.new_id(),
        streamer_id=caller.user_id,
        created=tx.now,
        preset=body.preset,
        prices=Prices(sd=body.prices.sd, exclusive=body.prices.exclusive),
        title=body.title,
    )
    running = await store.running_session(tx, caller.user_id)
    if running is not None and not running.is_on(tx.now):
        await _end(running, tx)
        await tx.flush(store.SESSIONS)  # the new one may take its place in the index
        running = None
    store.save(tx, domain.start(session, running, tx.settings(SessionsSettings).session_max_seconds))
    return SessionId(session.id)


@router.get("/sessions")
async def list_sessions(
    caller: CallerDep,  # noqa: ARG001 - any signed-in user
    wanted: PageDep,
    tx: TxDep,
    active: Annotated[bool, Query(description="Those on air, or those that are over")] = True,  # noqa: FBT002 - a query parameter has a name
) -> Page[SessionView]:
    """The most watched first, those alike by their start."""
    page = await paged(tx, store.HEAD_COUNTS, {"active": active}, wanted, _session_id, by="rank")
    sessions = await tx.get_many(store.SESSIONS, page.items)
    return Page([_view(sessions[session_id], tx.now) for session_id in page.items], page.next)


@router.get("/sessions/{session_id}", refuses=(domain.SessionNotFound,))
async def get_session(session_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> SessionView:  # noqa: ARG001 - any signed-in user
    """One session, also after its end."""
    return _view(await store.session(tx, session_id), tx.now)


@router.patch("/sessions/{session_id}", scope="CREATOR", refuses=COMMAND_REFUSALS)
async def change_session(session_id: ObjectIdStr, body: ChangeSession, caller: CallerDep, tx: TxDep) -> None:
    """Change prices, preset or title. What was bought before stays bought."""
    session = domain.commanded(await tx.get(store.SESSIONS, session_id), caller.user_id, tx.now)
    prices = body.prices.model_dump(exclude_unset=True)
    store.save(tx, domain.change(session, prices, body.preset, body.title))


@router.put(
    "/sessions/{session_id}/sources/{room_id}", scope="CREATOR", refuses=(*COMMAND_REFUSALS, domain.TooManySources)
)
async def put_source(
    session_id: ObjectIdStr, room_id: RoomId, caller: CallerDep, tx: TxDep, body: PutSource = A_CAMERA
) -> None:
    """Have a camera in the session, one per room."""
    session = domain.commanded(await tx.get(store.SESSIONS, session_id), caller.user_id, tx.now)
    source = Source(room_id=room_id, session_id=session.id, task_id=f"snapshot_{session.id}_{room_id}", kind=body.kind)
    store.save(tx, domain.put_source(session, source))


@router.delete("/sessions/{session_id}", scope="CREATOR", refuses=COMMAND_REFUSALS)
async def go_off_air(session_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> None:
    """Go off air, for good."""
    await _end(domain.owned(await tx.get(store.SESSIONS, session_id), caller.user_id), tx)


@router.post("/sessions/{session_id}/pay", status_code=202, refuses=(domain.SessionNotFound, *PAY_REFUSALS))
async def pay(session_id: ObjectIdStr, body: Pay, caller: CallerDep, tx: TxDep) -> PaymentAsked:
    """Buy time: of the caller's exclusive while it runs, else of watching. `GET /payments/{id}` tells the outcome."""
    payments.check_steps(body.duration, tx.settings(SessionsSettings).step_seconds)
    return await _pay(await store.session(tx, session_id), body, caller.user_id, tx)


async def _path_to_pay(path: Mapping[str, str], tx: Tx) -> str | None:
    session = await store.running_session(tx, path["streamer_id"])
    return f"/sessions/{session.id}/pay" if session else None


@router.post(
    "/streams/{streamer_id}/pay", status_code=202, refuses=(payments.NoActiveSession, *PAY_REFUSALS),
    same_as=_path_to_pay,
)  # fmt: skip
async def pay_streamer(streamer_id: ObjectIdStr, body: Pay, caller: CallerDep, tx: TxDep) -> PaymentAsked:
    """The same, for the session in which this streamer is on air."""
    payments.check_steps(body.duration, tx.settings(SessionsSettings).step_seconds)
    session = await store.running_session(tx, streamer_id)
    if session is None:
        raise payments.NoActiveSession
    return await _pay(session, body, caller.user_id, tx)


@router.get("/payments/{payment_id}", refuses=(payments.PaymentNotFound,))
async def get_payment(payment_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> PaymentView:
    """What became of one of the caller's payments."""
    payment = await store.payment(tx, payment_id)
    if payment.payer_id != caller.user_id:
        raise payments.PaymentNotFound
    return _payment_view(payment)


@router.put("/blocks/{viewer_id}", scope="CREATOR", refuses=(BlockOfOneself,))
async def block_viewer(viewer_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> None:
    """Keep a viewer away from the caller's sessions. Told only when it changes something.

    Minutes of the session on air that the viewer has paid for and that have not begun are paid back.
    """
    if viewer_id == caller.user_id:
        raise BlockOfOneself(errors=[{"field": "viewer_id", "message": "must be somebody else"}])
    block = Block(block_id(caller.user_id, viewer_id), caller.user_id, viewer_id)
    if await tx.get(store.BLOCKS, block.id) is None:
        tx.insert(store.BLOCKS, block)
        tx.emit(ViewerBlockedV1(streamer_id=caller.user_id, viewer_id=viewer_id))
        await _pay_back_blocked(caller.user_id, viewer_id, tx)


@router.delete("/blocks/{viewer_id}", scope="CREATOR")
async def unblock_viewer(viewer_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> None:
    """Let a viewer back in."""
    id_ = block_id(caller.user_id, viewer_id)
    if await tx.get(store.BLOCKS, id_) is not None:
        tx.delete(store.BLOCKS, id_)
        tx.emit(ViewerUnblockedV1(streamer_id=caller.user_id, viewer_id=viewer_id))


async def _end(session: Session, tx: Tx) -> None:
    at = tx.now if session.exp is None else min(tx.now, session.exp)
    ending = await store.ending(tx, session, at, tx.settings(SessionsSettings).step_seconds)
    store.save(tx, end_session(ending, tx.now))


async def _pay_back_blocked(streamer_id: str, viewer_id: str, tx: Tx) -> None:
    session = await store.running_session(tx, streamer_id)
    if session is None:
        return
    tx.put(store.SESSIONS, session)  # whoever gives time saves it too, so no payment is given unseen
    left = MinutesLeft(session_id=session.id, reason="blocked", at=tx.now)
    viewer = await store.viewer(tx, session.id, viewer_id)
    await store.pay_back(tx, session, left, [viewer], tx.settings(SessionsSettings).step_seconds)


async def _pay(session: Session, body: Pay, payer_id: str, tx: Tx) -> PaymentAsked:
    if await tx.get(store.BLOCKS, block_id(session.streamer_id, payer_id)) is not None:
        raise payments.BlockedByStreamer
    settings = tx.settings(SessionsSettings)
    viewer = await store.viewer(tx, session.id, payer_id)
    payment = payments.price_payment(session, viewer, ids.new_id(), body.duration, settings.step_seconds, tx.now)
    exp = tx.now + timedelta(milliseconds=round(settings.proposal_seconds * 1_000))
    store.save(tx, payments.request(payment, body.max_amount_diamonds, exp))
    return PaymentAsked(payment.id, payment.amount_diamonds)


def _session_id(head_count: HeadCount) -> str:
    return head_count.id


def _view(session: Session, now: datetime) -> SessionView:
    return SessionView(
        id=session.id,
        streamer_id=session.streamer_id,
        title=session.title,
        active=session.is_on(now),
        preset=session.preset,
        prices=session.prices,
        statuses=StatusesView(session.created, session.ended),
        status=StatusView(list(session.exclusive_to)),
        show_goal_pairs=[ShowPairView(**asdict(pair)) for pair in session.show_goal_pairs],
        exclusive_goal_pairs={
            viewer_id: ExclusivePairView(**asdict(pair)) for viewer_id, pair in session.exclusive_goal_pairs.items()
        },
        sources=list(session.sources),
    )


def _payment_view(payment: Payment) -> PaymentView:
    return PaymentView(
        payment.id,
        payment.status,
        payment.amount_diamonds,
        payment.reversed_diamonds,
        payment.reason or payment.reversal,
    )
