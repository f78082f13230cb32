"""Access tokens: verified by the key that `kid` names, with that key's algorithm, on this process's clock (SPEC §2)."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import jwt
from pydantic import BaseModel, ConfigDict, Field

from chassis.clock import Clock, from_unix
from chassis.http.problems import TokenInvalid, TokenMissing
from chassis.http.request_context import RequestContext
from chassis.http.token_keys import TokenKeys
from chassis.runtime.settings import ApiSettings
from contracts.values import ObjectIdStr

LEEWAY_SECONDS = 30  # SPEC §2: clocks of issuer and service may differ
TOKEN_BYTES_MAX = 8 * 1024  # ten times a token of ours; more is no token
VERIFIED_MAX = 4_096  # tokens remembered as verified, about 4 MB

_Moment = Annotated[float, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]  # Unix seconds up to the year 9999


@dataclass(frozen=True, slots=True)
class Caller:
    """The user on whose behalf a request is made."""

    user_id: str
    scopes: frozenset[str]
    client_id: str
    """The client: the `triggerer` of what follows."""
    request_id: str
    session_id: str | None
    jti: str
    version: int | str | None
    expires_at: datetime


class _Claims(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    iss: str
    aud: str | list[str]
    sub: ObjectIdStr
    jti: Annotated[str, Field(min_length=1, max_length=200)]
    exp: _Moment
    nbf: _Moment = 0
    iat: _Moment = 0
    scopes: Annotated[list[str], Field(max_length=64)] = []
    version: int | str | None = None


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token whose signature and claims hold, from `not_before` until `expires`."""

    claims: _Claims
    scopes: frozenset[str]
    not_before: float
    expires: float


class Tokens:
    """Verifies access tokens. A verified one is remembered until it expires, or the keys are others."""

    def __init__(self, settings: ApiSettings, clock: Clock) -> None:
        self._clock = clock
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._seconds_max = settings.access_token_seconds_max
        self._jws = jwt.PyJWS()
        self._token_keys = TokenKeys(settings, clock)
        self._keys = self._token_keys.current()
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    def caller(self, authorization: bytes | None, context: RequestContext) -> Caller:
        """The caller named by an `Authorization` header.

        Raises:
            TokenMissing: there is none, or it is not a bearer token.
            TokenInvalid: the token is malformed, not ours, not for us, or not valid now.
        """
        scheme, _, token = (authorization or b"").partition(b" ")
        token = token.strip(b" ")  # RFC 9110: one space or more
        if scheme.lower() != b"bearer":
            raise TokenMissing
        self._look_at_the_keys()
        verified = self._verified.get(token) or self._verify(token)
        now = self._clock.micros() / 1_000_000
        if not verified.not_before - LEEWAY_SECONDS <= now < verified.expires + LEEWAY_SECONDS:
            self._verified.pop(token, None)
            raise TokenInvalid
        self._remember(token, verified)
        claims = verified.claims
        return Caller(
            user_id=claims.sub,
            scopes=verified.scopes,
            client_id=context.client_id,
            request_id=context.request_id,
            session_id=context.session_id,
            jti=claims.jti,
            version=claims.version,
            expires_at=from_unix(claims.exp),
        )

    def _look_at_the_keys(self) -> None:
        keys = self._token_keys.current()
        if keys is not self._keys:
            self._keys = keys
            self._verified.clear()  # a key that was taken out takes its tokens with it

    def _remember(self, token: bytes, verified: _Verified) -> None:
        self._verified[token] = verified
        self._verified.move_to_end(token)
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)

    def _verify(self, token: bytes) -> _Verified:
        """Check everything but the time."""
        if len(token) > TOKEN_BYTES_MAX:
            raise TokenInvalid
        try:
            algorithm, key = self._key_of(self._jws.get_unverified_header(token))
            payload = self._jws.decode(token, key, algorithms=[algorithm])
            claims = _Claims.model_validate_json(payload)
        except (jwt.PyJWTError, LookupError, TypeError, ValueError, RecursionError):
            raise TokenInvalid from None
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if claims.iss != self._issuer or self._audience not in audiences:
            raise TokenInvalid
        if claims.exp - claims.iat > self._seconds_max:
            raise TokenInvalid
        return _Verified(claims, frozenset(claims.scopes), max(claims.nbf, claims.iat), claims.exp)

    def _key_of(self, header: dict[str, Any]) -> tuple[str, Any]:
        """The algorithm and key of `kid`; a token without one can only mean the only key."""
        kid = header.get("kid")
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys[str(kid)]
