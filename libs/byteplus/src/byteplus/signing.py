"""Signed requests: the vendor's HMAC-SHA256 "Signature V4", without a prefix on the secret key.

The bytes that are signed must be the bytes that are sent, and the host that is signed the host that is asked.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

ALGORITHM: Final = "HMAC-SHA256"
SIGNED_ALWAYS: Final = frozenset({"content-type", "content-md5", "host"})  # and every `x-…`
DEFAULT_PORTS: Final = (":80", ":443")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A key pair of the vendor's, where it is valid. `session_token` only with temporary keys."""

    access_key: str
    secret_key: str
    region: str
    service: str = "rtc"
    session_token: str = ""

    def __repr__(self) -> str:
        """Without the secrets: this may stand in a log."""
        return f"Credentials({self.access_key}, {self.region}, {self.service})"


@dataclass(frozen=True, slots=True)
class Request:
    """A request to be signed. `query` and `headers` by name; `host` with its port unless that is 80 or 443."""

    method: str
    host: str
    query: Mapping[str, str]
    body: bytes = b""
    headers: Mapping[str, str] | None = None
    path: str = "/"


def sign(request: Request, credentials: Credentials, now: datetime) -> dict[str, str]:
    """All headers to send: the request's own, `Host`, `X-Date`, `X-Content-Sha256` and `Authorization`."""
    date = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {
        **(request.headers or {}),
        "Host": _host(request.host),
        "X-Date": date,
        "X-Content-Sha256": hashlib.sha256(request.body).hexdigest(),
    }
    if credentials.session_token:
        headers["X-Security-Token"] = credentials.session_token
    signed = sorted(name.lower() for name in headers if _is_signed(name.lower()))
    scope = f"{date[:8]}/{credentials.region}/{credentials.service}/request"
    to_sign = string_to_sign(canonical_request(request, headers, signed), date, scope)
    signature = hmac.new(signing_key(credentials, date[:8]), to_sign.encode(), hashlib.sha256).hexdigest()
    headers["Authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={';'.join(signed)}, "
        f"Signature={signature}"
    )
    return headers


def canonical_request(request: Request, headers: Mapping[str, str], signed: list[str]) -> str:
    """The request as both sides write it down. `signed` are the names that count, lower-case and sorted."""
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    return "\n".join(
        (
            request.method,
            request.path,
            canonical_query(request.query),
            "".join(f"{name}:{lower[name]}\n" for name in signed),
            ";".join(signed),
            lower["x-content-sha256"],
        )
    )


def canonical_query(query: Mapping[str, str]) -> str:
    """The query sorted by name and percent-encoded (RFC 3986): also what must stand in the URL."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query.items()))


def string_to_sign(canonical: str, date: str, scope: str) -> str:
    """What the signature is made of."""
    return "\n".join((ALGORITHM, date, scope, hashlib.sha256(canonical.encode()).hexdigest()))


def signing_key(credentials: Credentials, day: str) -> bytes:
    """The key of one day (`YYYYMMDD`), region and service."""
    key = credentials.secret_key.encode()
    for part in (day, credentials.region, credentials.service, "request"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    return key


def _is_signed(name: str) -> bool:
    return name in SIGNED_ALWAYS or name.startswith("x-")


def _host(host: str) -> str:
    for port in DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host
