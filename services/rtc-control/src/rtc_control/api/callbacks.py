"""What BytePlus tells us: who is in a room, and of each picture."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from byteplus.callbacks import Callback, CallbackError, NotSigned, read
from chassis.clock import from_unix
from chassis.errors import Forbidden
from chassis.http import InvalidRequest, RawBody, TxDep, TxRouter, invalid
from chassis.http.bodies import UNIX_SECONDS_MAX
from chassis.storage.tx import Tx
from contracts.values import Token
from rtc_control import store
from rtc_control.domain import broadcast, rooms
from rtc_control.settings import Settings
from rtc_control.store import Delivery

EARLY_MAX = timedelta(minutes=1)  # the vendor's clock is another one
ENTERED = frozenset({"UserJoinRoom", "InvisibleUserJoinRoom"})  # who only watches is invisible to others
LEFT = frozenset({"UserLeaveRoom", "InvisibleUserLeaveRoom"})
PICTURED = "SnapshotRealTimeData"

router = TxRouter(tags=["vendors"])


class SignatureInvalid(Forbidden, slug="signature-invalid"):
    """The body is not signed with a key that is shared with us, or not for our app."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The delivery need not be repeated."""

    result: str = "ok"


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Movement(_Data):
    """Somebody came or went, in Unix milliseconds."""

    room_id: Token = Field(alias="RoomId")
    user_id: Token = Field(alias="UserId")
    at: Annotated[int, Field(ge=0, le=UNIX_SECONDS_MAX * 1_000)] = Field(alias="Timestamp")


class Picture(_Data):
    """When a picture was taken, in Unix seconds or milliseconds: the vendor's pages do not say."""

    at: Annotated[int, Field(ge=0, le=UNIX_SECONDS_MAX * 1_000)] = Field(alias="TimeStamp")


class Pictures(_Data):
    """What a task has photographed."""

    room_id: Token = Field(alias="RoomId")
    task_id: Token = Field(alias="TaskId")
    pictures: tuple[Picture, ...] = Field(alias="Data", default=())


@router.post("/notify/byteplus", public=True, refuses=(SignatureInvalid, InvalidRequest))
async def hear_byteplus(body: RawBody, tx: TxDep) -> Heard:
    """Take a callback of BytePlus: who enters while they may not is put out. Said again, it changes nothing."""
    callback = _read(body, tx.settings(Settings))
    if await tx.get(store.DELIVERIES, callback.event_id) is not None:
        return Heard()
    tx.put(store.DELIVERIES, Delivery(callback.event_id, tx.now))
    try:
        if callback.event_type in ENTERED | LEFT:
            await _move(tx, Movement.model_validate(callback.data), present=callback.event_type in ENTERED)
        elif callback.event_type == PICTURED:
            await _picture(tx, Pictures.model_validate(callback.data))
    except ValidationError:
        raise invalid("EventData", "must be what its type says") from None
    return Heard()


def _read(body: bytes, settings: Settings) -> Callback:
    try:
        callback = read(body, *(secret.get_secret_value() for secret in settings.byteplus_callback_secrets))
    except NotSigned:
        raise SignatureInvalid from None
    except CallbackError as error:
        raise invalid("body", f"must be a callback: {error}") from None
    if callback.app_id != settings.byteplus_app_id:
        raise SignatureInvalid
    return callback


async def _move(tx: Tx, movement: Movement, *, present: bool) -> None:
    at = min(from_unix(movement.at / 1_000), tx.now + EARLY_MAX)
    known = await tx.get(store.OCCUPANTS, rooms.occupant_id(movement.room_id, movement.user_id))
    after = rooms.moved(known, movement.room_id, movement.user_id, at, present=present)
    if after is None:
        return
    tx.put(store.OCCUPANTS, after)
    if present and (session := await store.broadcast_in(tx, movement.room_id)):
        for call in rooms.put_out(session, [after], tx.now):
            tx.schedule_effect(call)


async def _picture(tx: Tx, taken: Pictures) -> None:
    session = await store.broadcast_in(tx, taken.room_id)
    if session is None or not taken.pictures:
        return
    last = max(picture.at for picture in taken.pictures)
    seconds = last / 1_000 if last > UNIX_SECONDS_MAX else float(last)
    tx.apply(store.BROADCASTS, broadcast.pictured(session, taken.task_id, from_unix(seconds), tx.now))
