"""What goes back to the caller: made before the commit, sent after it."""

from dataclasses import dataclass

from starlette.types import Send

Header = tuple[bytes, bytes]

EVERYWHERE: tuple[Header, ...] = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
"""On every answer of a process, health and metrics too."""

WITHOUT_BODY = (204, 304)
JSON = b"application/json"
PROBLEM = b"application/problem+json"


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Status, headers and body bytes of one response."""

    status: int
    headers: tuple[Header, ...]
    body: bytes = b""

    async def send(self, send: Send) -> None:
        """Send it."""
        length = () if self.status in WITHOUT_BODY else ((b"content-length", b"%d" % len(self.body)),)
        await send({"type": "http.response.start", "status": self.status, "headers": [*self.headers, *length]})
        await send({"type": "http.response.body", "body": self.body})


def headers_of(request_id: str, content_type: bytes | None) -> tuple[Header, ...]:
    """The headers every answer has. Answers belong to one caller, so nobody on the way may keep them."""
    common = ((b"x-request-id", request_id.encode()), *EVERYWHERE)
    return (*common, (b"content-type", content_type)) if content_type else common
