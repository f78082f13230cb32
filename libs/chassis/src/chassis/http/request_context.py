"""Who sent a request, as far as it says so itself: ids for logs and events, never trusted for anything else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from chassis import ids

_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_TRACEPARENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Ids of a request; those that were absent or malformed are fresh ones."""

    request_id: str
    """Becomes the correlation id of everything that follows."""
    client_id: str
    """Becomes the `triggerer` of what follows."""
    session_id: str | None
    """The client's own session, for the log."""
    traceparent: str | None
    """The caller's own trace: ours is linked to it."""


def request_context(headers: Headers) -> RequestContext:
    """Read the ids of a request, replacing malformed ones (SPEC §2)."""
    session, trace = headers.get(b"x-session-id", b""), headers.get(b"traceparent", b"")
    return RequestContext(
        _id(headers.get(b"x-request-id")),
        _id(headers.get(b"x-client-id")),
        session.decode() if _ID.fullmatch(session) else None,
        trace.decode() if _TRACEPARENT.fullmatch(trace) else None,
    )


def _id(given: bytes | None) -> str:
    return given.decode() if given is not None and _ID.fullmatch(given) else ids.new_id()
