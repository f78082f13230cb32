"""Room tokens, version 001: what a client shows to BytePlus to enter a room (its page "Token authentication").

A token is `001`, the app's id, and base64 of two length-prefixed strings: the message and its HMAC-SHA256 under the
app's key. All integers are little-endian. The app's id is not covered by the signature.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

VERSION: Final = "001"
APP_ID_LENGTH: Final = 24  # characters, of every app id of the vendor
VALID_SECONDS_MAX: Final = 7 * 24 * 3_600  # the vendor takes no token older than that, whatever it says


class Privilege(IntEnum):
    """What a token allows in its room. The vendor's numbers."""

    PUBLISH_STREAM = 0
    PUBLISH_AUDIO = 1
    PUBLISH_VIDEO = 2
    PUBLISH_DATA = 3
    SUBSCRIBE_STREAM = 4


PUBLISH: Final = (
    Privilege.PUBLISH_STREAM,
    Privilege.PUBLISH_AUDIO,
    Privilege.PUBLISH_VIDEO,
    Privilege.PUBLISH_DATA,
)
"""What the vendor's own code grants together with `PUBLISH_STREAM`."""


class RoomTokenError(ValueError):
    """The text is no token of this version, or another key has signed it."""


@dataclass(frozen=True, slots=True)
class RoomToken:
    """Who may be in which room, until when. Times are Unix seconds; 0 means no end.

    `privileges` maps each privilege to its own end. `nonce` is any number below 2³², so that no two tokens are equal.
    """

    app_id: str
    room_id: str
    user_id: str
    issued_at: int
    expire_at: int
    nonce: int
    privileges: Mapping[int, int] = field(default_factory=dict)


def sign(token: RoomToken, app_key: str) -> str:
    """Write the token. Raises ValueError for an app id of another length, struct.error for a number out of range."""
    if len(token.app_id) != APP_ID_LENGTH:
        raise ValueError(f"an app id has {APP_ID_LENGTH} characters, not {len(token.app_id)}")
    message = _message(token)
    body = _packed(message) + _packed(_signature(message, app_key))
    return VERSION + token.app_id + base64.b64encode(body).decode("ascii")


def read(text: str, app_key: str) -> RoomToken:
    """Read a token and check its signature, but not its times. Raises RoomTokenError."""
    head, app_id, tail = (
        text[: len(VERSION)],
        text[len(VERSION) :][:APP_ID_LENGTH],
        text[len(VERSION) + APP_ID_LENGTH :],
    )
    if head != VERSION or len(app_id) != APP_ID_LENGTH:
        raise RoomTokenError("not a token of version 001")
    try:
        message, rest = _unpacked(base64.b64decode(tail, validate=True))
        signature, rest = _unpacked(rest)
        if rest or not hmac.compare_digest(signature, _signature(message, app_key)):
            raise RoomTokenError("signed by another key")
        return _parsed(app_id, message)
    except (binascii.Error, struct.error, UnicodeDecodeError) as error:
        raise RoomTokenError("not a token of version 001") from error


def _signature(message: bytes, app_key: str) -> bytes:
    return hmac.digest(app_key.encode(), message, hashlib.sha256)


def _message(token: RoomToken) -> bytes:
    granted = sorted(token.privileges.items())
    return b"".join(
        (
            struct.pack("<III", token.nonce, token.issued_at, token.expire_at),
            _packed(token.room_id.encode()),
            _packed(token.user_id.encode()),
            struct.pack("<H", len(granted)),
            *(struct.pack("<HI", privilege, expire_at) for privilege, expire_at in granted),
        )
    )


def _parsed(app_id: str, message: bytes) -> RoomToken:
    nonce, issued_at, expire_at = struct.unpack_from("<III", message)
    room_id, rest = _unpacked(message[struct.calcsize("<III") :])
    user_id, rest = _unpacked(rest)
    (count,) = struct.unpack_from("<H", rest)
    granted = dict(struct.iter_unpack("<HI", rest[2:]))
    if len(granted) != count:
        raise RoomTokenError("not a token of version 001")
    return RoomToken(app_id, room_id.decode(), user_id.decode(), issued_at, expire_at, nonce, granted)


def _packed(value: bytes) -> bytes:
    return struct.pack("<H", len(value)) + value


def _unpacked(data: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack_from("<H", data)
    value, rest = data[2 : 2 + length], data[2 + length :]
    if len(value) != length:
        raise RoomTokenError("not a token of version 001")
    return value, rest
