"""What a streamer or a viewer asks for."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Path

from chassis import ids
from chassis.http import CallerDep, TxDep, TxRouter
from chassis.storage.tx import Tx
from contracts import Prices, Source, ViewerBlockedV1, ViewerUnblockedV1
from contracts.values import ObjectIdStr
from sessions import store
from sessions.api.bodies import ChangeSession, Pay, PutSource, StartSession
from sessions.api.views import PaymentAsked, SessionId
from sessions.domain import payments
from sessions.domain import session as domain
from sessions.domain.blocks import Block, BlockOfOneself, block_id
from sessions.domain.ending import end_session
from sessions.domain.minutes import MinutesLeft
from sessions.domain.session import Session
from sessions.settings import SessionsSettings
from sessions.store import holders, load

router = TxRouter(tags=["sessions"])

ROOM_ID_LENGTH_MAX: Final = 94  # so that `snapshot_{session_id}_{room_id}` has the 128 characters the vendor takes
ROOM_ID: Final = rf"^[A-Za-z0-9_@-]([A-Za-z0-9_@.-]{{0,{ROOM_ID_LENGTH_MAX - 2}}}[A-Za-z0-9_@-])?$"
RoomId = Annotated[str, Path(pattern=ROOM_ID, description="A room of the vendor's")]

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


A_SOURCE = PutSource()


@router.post("/sessions", status_code=201, scope="CREATOR", refuses=(domain.SessionAlreadyActive, domain.TooLong))
async def start_session(body: StartSession, caller: CallerDep, tx: TxDep) -> SessionId:
    """Go on air. A streamer has one active session."""
    lasts = domain.require_length(body.max_seconds, tx.settings(SessionsSettings).session_max_seconds)
    session = Session(
        id=ids.new_id(),
        streamer_id=caller.user_id,
        created=tx.now,
        preset=body.preset,
        prices=Prices(sd=body.prices.sd, exclusive=body.prices.exclusive),
        title=body.title,
    )
    running = await load.running_session(tx, caller.user_id)
    if running is not None and not running.is_on(tx.now):
        await _end(running, tx)
        await tx.flush(store.SESSIONS)  # the new one may take its place in the index
        running = None
    store.save(tx, domain.start(session, running, lasts))
    return SessionId(session.id)


@router.patch("/sessions/{session_id}", scope="CREATOR", refuses=COMMAND_REFUSALS)
async def change_session(session_id: ObjectIdStr, body: ChangeSession, caller: CallerDep, tx: TxDep) -> None:
    """Change prices, preset or title. What was bought before stays bought."""
    session = domain.commanded(await tx.get(store.SESSIONS, session_id), caller.user_id, tx.now)
    prices = body.prices.model_dump(exclude_unset=True)
    store.save(tx, domain.change(session, prices, body.preset, body.title))


@router.put(
    "/sessions/{session_id}/sources/{room_id}",
    scope="CREATOR",
    refuses=(*COMMAND_REFUSALS, domain.RoomTaken, domain.TooManySources),
)
async def put_source(
    session_id: ObjectIdStr, room_id: RoomId, caller: CallerDep, tx: TxDep, body: PutSource = A_SOURCE
) -> None:
    """Have a camera or encoder in the session, one per room. A room belongs to one active session at a time.

    Whoever holds a token of its `preset` may watch it, if it is the newest of that preset.
    """
    session = domain.commanded(await tx.get(store.SESSIONS, session_id), caller.user_id, tx.now)
    source = Source(
        room_id=room_id,
        session_id=session.id,
        task_id=f"snapshot_{session.id}_{room_id}",
        kind=body.kind,
        preset=body.preset or session.preset_in(room_id),
    )
    store.save(tx, domain.put_source(session, source, await load.session_in_room(tx, room_id)))


@router.delete(
    "/sessions/{session_id}/sources/{room_id}", scope="CREATOR", refuses=(*COMMAND_REFUSALS, domain.SourceNotFound)
)
async def remove_source(session_id: ObjectIdStr, room_id: RoomId, caller: CallerDep, tx: TxDep) -> None:
    """Take a source out of the session. Its room is free again."""
    session = domain.commanded(await tx.get(store.SESSIONS, session_id), caller.user_id, tx.now)
    store.save(tx, domain.remove_source(session, room_id))


@router.delete("/sessions/{session_id}", scope="CREATOR", refuses=COMMAND_REFUSALS, overtakes=True)
async def go_off_air(session_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> None:
    """Go off air, for good; also while events of the session wait for an operator.

    What they tell of comes to an ended session then, and gives its money back.
    """
    await _end(domain.owned(await tx.get(store.SESSIONS, session_id), caller.user_id), tx)


@router.post("/sessions/{session_id}/pay", status_code=202, refuses=(domain.SessionNotFound, *PAY_REFUSALS))
async def pay(session_id: ObjectIdStr, body: Pay, caller: CallerDep, tx: TxDep) -> PaymentAsked:
    """Buy time: of the caller's exclusive while it runs, else of watching. `GET /payments/{id}` tells the outcome."""
    payments.check_steps(body.duration, tx.settings(SessionsSettings).step_seconds)
    return await _pay(await load.session(tx, session_id), body, caller.user_id, tx)


async def _path_to_pay(path: Mapping[str, str], tx: Tx) -> str | None:
    session = await load.running_session(tx, path["streamer_id"])
    return f"/sessions/{session.id}/pay" if session else None


@router.post(
    "/streams/{streamer_id}/pay", status_code=202, refuses=(payments.NoActiveSession, *PAY_REFUSALS),
    same_as=_path_to_pay,
)  # fmt: skip
async def pay_streamer(streamer_id: ObjectIdStr, body: Pay, caller: CallerDep, tx: TxDep) -> PaymentAsked:
    """The same, for the session in which this streamer is on air."""
    payments.check_steps(body.duration, tx.settings(SessionsSettings).step_seconds)
    session = await load.running_session(tx, streamer_id)
    if session is None:
        raise payments.NoActiveSession
    return await _pay(session, body, caller.user_id, tx)


@router.put("/blocks/{viewer_id}", scope="CREATOR", refuses=(BlockOfOneself,))
async def block_viewer(viewer_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> None:
    """Keep a viewer away from the caller's sessions. Told only when it changes something.

    Minutes of the session on air that the viewer has paid for and that have not begun are paid back.
    """
    if viewer_id == caller.user_id:
        raise BlockOfOneself(errors=[{"field": "viewer_id", "message": "must be somebody else"}])
    block = Block(block_id(caller.user_id, viewer_id), caller.user_id, viewer_id, tx.now)
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
    ending = await load.ending(tx, session, at, tx.settings(SessionsSettings).step_seconds)
    store.save(tx, end_session(ending, tx.now))


async def _pay_back_blocked(streamer_id: str, viewer_id: str, tx: Tx) -> None:
    session = await load.running_session(tx, streamer_id)
    if session is None:
        return
    tx.put(store.SESSIONS, session)  # whoever gives time saves it too, so no payment is given unseen
    left = MinutesLeft(session_id=session.id, reason="blocked", at=tx.now)
    viewer = await holders.viewer(tx, session.id, viewer_id)
    await holders.pay_back(tx, session, left, [viewer], tx.settings(SessionsSettings).step_seconds)


async def _pay(session: Session, body: Pay, payer_id: str, tx: Tx) -> PaymentAsked:
    if await tx.get(store.BLOCKS, block_id(session.streamer_id, payer_id)) is not None:
        raise payments.BlockedByStreamer
    settings = tx.settings(SessionsSettings)
    viewer = await holders.viewer(tx, session.id, payer_id)
    payment = payments.price_payment(session, viewer, ids.new_id(), body.duration, settings.step_seconds, tx.now)
    exp = tx.now + timedelta(milliseconds=round(settings.proposal_seconds * 1_000))
    store.save(tx, payments.request(payment, body.max_amount_diamonds, exp))
    return PaymentAsked(payment.id, payment.amount_diamonds)
