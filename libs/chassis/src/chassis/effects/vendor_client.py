"""The HTTP client for vendors: one pooled session of aiohttp, a third of httpx's work for each call."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

CONNECTIONS_MAX = 100
KEPT_SECONDS = 5.0  # a connection that nobody uses: vendors close theirs after ten, and then a call could meet the end

VENDOR_AWAY = (aiohttp.ClientError, TimeoutError)
"""What a call raises that got no answer: nobody knows whether the vendor has heard it."""


@dataclass(frozen=True, slots=True)
class VendorResponse:
    """What a vendor has answered; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is done."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_server_error(self) -> bool:
        """Whether the fault is the vendor's."""
        return self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class VendorClient:
    """Calls vendors. Connects when it is first used; follows no redirect, keeps no cookie, uses no proxy."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, content: bytes | str, headers: Mapping[str, str], *, seconds_max: float
    ) -> VendorResponse:
        """Post `content` as it is.

        Raises:
            VENDOR_AWAY: there was no answer, or none within `seconds_max`, connecting included.
        """
        data = content.encode() if isinstance(content, str) else content
        return await self._request("POST", url, seconds_max, data=data, headers=headers)

    async def get(self, url: str, headers: Mapping[str, str] | None = None, *, seconds_max: float) -> VendorResponse:
        """Ask, with a query that is in `url`.

        Raises:
            VENDOR_AWAY: there was no answer, or none within `seconds_max`, connecting included.
        """
        return await self._request("GET", url, seconds_max, headers=headers or {})

    async def _request(self, method: str, url: str, seconds_max: float, **sent: Any) -> VendorResponse:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=KEPT_SECONDS)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        timeout = aiohttp.ClientTimeout(total=seconds_max)
        async with self._session.request(method, url, timeout=timeout, allow_redirects=False, **sent) as response:
            body = await response.read()  # else the connection could not be used again
            return VendorResponse(response.status, {k.lower(): v for k, v in response.headers.items()}, body)

    async def close(self) -> None:
        """Close every socket."""
        if self._session is not None:
            await self._session.close()
