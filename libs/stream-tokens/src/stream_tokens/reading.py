"""How a stream token is read by who holds the keys: the media edge, and our own tests."""

from datetime import datetime
from typing import Annotated, Any

import jwt
from pydantic import BaseModel, ConfigDict, Field

from contracts import Preset
from contracts.values import ObjectIdStr
from stream_tokens.minting import AUDIENCE, ISSUER
from stream_tokens.settings import StreamTokenSettings

TOKEN_BYTES_MAX = 4 * 1024  # ten times one of ours; more is no token


class StreamTokenInvalid(ValueError):
    """The text is no stream token of ours, or not valid now."""


class StreamToken(BaseModel):
    """What a stream token says. `room` is where the vendor shows it, if anything is shown."""

    model_config = ConfigDict(strict=True, frozen=True)

    sub: ObjectIdStr
    session_id: ObjectIdStr
    preset: Preset
    room: Annotated[str, Field(max_length=200)] | None
    nbf: int
    exp: int
    jti: str


def read(token: str, settings: StreamTokenSettings, now: datetime) -> StreamToken:
    """Read a stream token. The algorithm is that of its key, whatever the token says.

    Raises:
        StreamTokenInvalid: it is malformed, not ours, an access token, or not valid now.
    """
    if len(token) > TOKEN_BYTES_MAX:
        raise StreamTokenInvalid
    try:
        header = jwt.get_unverified_header(token)
        algorithm, key = settings.verifying(str(header.get("kid")))
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": ["exp", "nbf", "sub", "jti"], "verify_exp": False, "verify_nbf": False},
        )
        said = StreamToken.model_validate(claims)
    except (jwt.PyJWTError, KeyError, TypeError, ValueError, RecursionError):
        raise StreamTokenInvalid from None
    if not said.nbf <= now.timestamp() < said.exp:
        raise StreamTokenInvalid
    return said
