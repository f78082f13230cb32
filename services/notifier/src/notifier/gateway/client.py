"""Calls of Pusher's HTTP API: signed by its library, sent by our pooled client.

The library's own would block, or connect anew each time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pusher.http import GET, POST, Request

from chassis.context import Outside
from chassis.effects.vendor_client import VendorResponse
from notifier.settings import Settings

CALLS_AT_ONCE = 8  # enough to keep one server busy; more would only wait there instead of here
CALL_SECONDS = 5.0  # an answer takes milliseconds. To give one up is to push twice, perhaps: so rather late than soon


@dataclass(frozen=True, slots=True)
class _Signer:
    """What the library signs a request with."""

    key: str
    secret: str


async def post(resource: str, body: Mapping[str, Any], outside: Outside) -> VendorResponse:
    """Have the app do something.

    Raises:
        VENDOR_AWAY: there is no answer.
    """
    request = _request(POST, resource, body, outside)
    url = _url(request, outside)
    return await outside.http.post(url, request.body, request.headers, seconds_max=CALL_SECONDS)


async def get(resource: str, query: Mapping[str, str], outside: Outside) -> VendorResponse:
    """Ask the app.

    Raises:
        VENDOR_AWAY: there is no answer.
    """
    url = _url(_request(GET, resource, query, outside), outside)
    return await outside.http.get(url, seconds_max=CALL_SECONDS)


def _request(method: str, resource: str, params: Mapping[str, Any], outside: Outside) -> Request:
    settings = outside.settings(Settings)
    return Request(_Signer(*settings.signing_key), method, f"/apps/{settings.pusher_app_id}/{resource}", dict(params))


def _url(request: Request, outside: Outside) -> str:
    settings = outside.settings(Settings)
    return f"{settings.pusher_scheme}://{settings.pusher_host}:{settings.pusher_port}{request.signed_path}"
