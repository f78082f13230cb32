"""What the vendor tells by itself: who came into a room, who left it, a picture that was taken.

It posts JSON to one address of the app's, up to three times, in no promised order; an answer of 200 within five
seconds ends it. The same `event_id` may come again. The signature is a plain SHA-256 over the sorted values, the
secret among them: it hides no length and is no HMAC, so an address that takes callbacks should also be hard to guess.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

SIGNED: Final = ("EventType", "EventData", "EventTime", "EventId", "AppId", "Version")
NONCES: Final = ("Nonce", "Noce")  # the vendor's pages and its own samples spell it both ways
DELIVERIES_MAX: Final = 3
ANSWER_SECONDS_MAX: Final = 5.0
EVENT_ID_MAX: Final = 200  # characters; the vendor's have 32
BODY_BYTES_MAX: Final = 256 * 1024  # a picture's event is under a kilobyte


class CallbackError(ValueError):
    """It is no callback of the vendor's, or somebody else has signed it."""


class NotSigned(CallbackError):
    """Somebody else has signed it."""


@dataclass(frozen=True, slots=True)
class Callback:
    """One event. `data` is what its type says; `event_time` is the vendor's text, with up to nanoseconds."""

    event_id: str
    event_type: str
    event_time: str
    app_id: str
    data: Mapping[str, Any]


def read(body: bytes, *secrets: str) -> Callback:
    """Read a callback and check its signature. The caller compares `app_id`, and takes each `event_id` once.

    Raises:
        NotSigned: the signature is made with none of the `secrets`.
        CallbackError: it cannot be read.
    """
    told = _loaded(body, "not JSON") if len(body) <= BODY_BYTES_MAX else None
    if not isinstance(told, dict):
        raise CallbackError("not a callback")
    nonce = next((told[name] for name in NONCES if name in told), None)
    values = [nonce, *(told.get(name) for name in SIGNED)]
    signature = told.get("Signature")
    if not isinstance(signature, str) or not all(isinstance(value, str) for value in values):
        raise CallbackError("not a callback")
    given = signature.encode("utf-8", "surrogatepass")
    known = [signature_of([str(value) for value in values], secret).encode() for secret in secrets]
    if not any(hmac.compare_digest(given, one) for one in known):
        raise NotSigned("signed by somebody else")
    if not (0 < len(told["EventId"]) <= EVENT_ID_MAX and told["EventId"].isprintable()):
        raise CallbackError("its id is none")
    data = _loaded(told["EventData"], "its data is not JSON")
    if not isinstance(data, dict):
        raise CallbackError("its data is no object")
    return Callback(told["EventId"], told["EventType"], told["EventTime"], told["AppId"], data)


def _loaded(text: str | bytes, otherwise: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # the latter: nested by the thousand
        raise CallbackError(otherwise) from error


def sign(fields: Mapping[str, str], nonce: str, secret: str) -> str:
    """The signature of a callback with these `SIGNED` fields."""
    return signature_of([nonce, *(fields[name] for name in SIGNED)], secret)


def signature_of(values: list[str], secret: str) -> str:
    """The vendor's signature over `values`, in whatever order they come."""
    return hashlib.sha256("".join(sorted([*values, secret])).encode("utf-8", "surrogatepass")).hexdigest()
