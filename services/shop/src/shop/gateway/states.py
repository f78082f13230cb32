"""The one value that a browser carries to a gateway and back: signed, expiring, for one order (SPEC §8).

No URL travels in it or beside it, so there is none to forge: where the browser goes next follows from the order.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import jwt
from jwt.types import Options

from chassis.clock import unix
from chassis.errors import Forbidden
from shop.settings import ShopSettings

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "footlights-checkout"
_WRITTEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)  # it goes into headers and pages, as it came


class StateInvalid(Forbidden, slug="state-invalid"):
    """This link is not ours, or too old: look at your orders."""


@dataclass(frozen=True, slots=True)
class State:
    """Which round trip it is, and of which order."""

    id: str
    order_id: str


def issue(settings: ShopSettings, state: State, exp: datetime) -> str:
    """The state as the browser carries it until `exp`."""
    claims = {"aud": AUDIENCE, "jti": state.id, "sub": state.order_id, "exp": int(unix(exp))}
    return jwt.encode(claims, settings.checkout_state_key.get_secret_value(), algorithm=ALGORITHM)


def verify(settings: ShopSettings, carried: str, now: datetime) -> State:
    """Read a state that came back.

    Raises:
        StateInvalid: we did not issue it, or it has expired.
    """
    if not _WRITTEN.fullmatch(carried):
        raise StateInvalid
    for key in (settings.checkout_state_key, *settings.checkout_state_other_keys):
        claims = _signed_with(key.get_secret_value(), carried)
        if claims is not None and claims["exp"] > unix(now):
            return State(claims["jti"], claims["sub"])
    raise StateInvalid


def _signed_with(key: str, carried: str) -> dict[str, Any] | None:
    options: Options = {"require": ["aud", "jti", "sub", "exp"], "verify_exp": False}  # by the clock of the Tx
    try:
        return jwt.decode(carried, key, algorithms=[ALGORITHM], audience=AUDIENCE, options=options) if key else None
    except jwt.PyJWTError:
        return None
