"""How both tokens are made."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import jwt

from byteplus import room_tokens
from byteplus.room_tokens import Privilege, RoomToken
from contracts import Preset
from stream_tokens.settings import StreamTokenSettings

ISSUER: Final = "footlights"
AUDIENCE: Final = "footlights-stream"  # never that of access tokens: neither is taken for the other

_NONCE_DIGITS: Final = 8  # hex digits of 32 bits


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may watch what. `until` is when the permission ends; None: nothing but the token's own life ends it."""

    user_id: str
    session_id: str
    preset: Preset
    room_id: str | None = None
    """The room of the newest source of that preset; None if there is none."""
    until: datetime | None = None
    may_publish: bool = False
    """Whether it is the streamer, who shows something in that room."""


@dataclass(frozen=True, slots=True)
class Room:
    """Where a room token leads, as the vendor's client has to name it."""

    app_id: str
    room_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Minted:
    """Both tokens of an admission. Without a room there is no room token. Times are whole Unix seconds."""

    preset: Preset
    token: str
    byteplus_token: str | None
    byteplus: Room | None
    nbf: int
    exp: int


def mint(admission: Admission, settings: StreamTokenSettings, now: datetime, jti: str) -> Minted:
    """The tokens of `admission`, from `now` on. Neither outlives it, nor `TOKEN_MAX_SECONDS`.

    `jti` is a fresh id of ours. A permission that ends within this second gives tokens that have ended.
    """
    nbf = math.floor(now.timestamp())
    exp = nbf + settings.token_max_seconds
    if admission.until is not None:
        exp = min(exp, math.floor(admission.until.timestamp()))
    room = _room(admission, settings)
    return Minted(
        preset=admission.preset,
        token=_stream_token(admission, settings, jti, nbf, exp),
        byteplus_token=_room_token(admission, room, settings, jti, nbf, exp) if room else None,
        byteplus=room,
        nbf=nbf,
        exp=exp,
    )


def _room(admission: Admission, settings: StreamTokenSettings) -> Room | None:
    if admission.room_id is None:
        return None
    return Room(settings.byteplus_app_id, admission.room_id, admission.user_id)


def _stream_token(admission: Admission, settings: StreamTokenSettings, jti: str, nbf: int, exp: int) -> str:
    kid, key = settings.signing_key
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": admission.user_id,
        "session_id": admission.session_id,
        "preset": admission.preset,
        "room": admission.room_id,
        "nbf": nbf,
        "exp": exp,
        "jti": jti,
    }
    return jwt.encode(claims, key.key.get_secret_value(), algorithm=key.alg, headers={"kid": kid})


def _room_token(admission: Admission, room: Room, settings: StreamTokenSettings, jti: str, nbf: int, exp: int) -> str:
    allowed = (Privilege.SUBSCRIBE_STREAM, *(room_tokens.PUBLISH if admission.may_publish else ()))
    token = RoomToken(
        app_id=room.app_id,
        room_id=room.room_id,
        user_id=room.user_id,
        issued_at=nbf,
        expire_at=exp,
        nonce=int(jti[-_NONCE_DIGITS:], 16),
        privileges=dict.fromkeys(allowed, exp),
    )
    return room_tokens.sign(token, settings.byteplus_app_key.get_secret_value())
