"""Calls of BytePlus' API: signed, sent by our pooled client, within the account's rate, and read with suspicion."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from pydantic_core import from_json, to_json

from byteplus.signing import Request, canonical_query, sign
from chassis.clock import instant
from chassis.context import Outside
from chassis.decision import Effect
from chassis.effects.vendor_client import VENDOR_AWAY, VendorClient, VendorResponse
from chassis.service import EffectRequest, EffectResult
from rtc_control.settings import Settings

CALL_SECONDS = 2.0  # an answer takes 50 ms; what is wanted may have changed meanwhile, and waits for it
BEGIN_SECONDS = 1.0  # what the rate does not let begin by then comes again, with what is more urgent before it
DEADLINE_SECONDS = BEGIN_SECONDS + CALL_SECONDS + 2.0  # for the chassis; never reached
AGAIN_FIRST_SECONDS, AGAIN_SECONDS_MAX = 0.25, 2.0  # a camera that must stop is worth asking often

F = TypeVar("F", bound=Effect)


class Refused(Exception):
    """The vendor has answered, and did not do it."""

    def __init__(self, code: str) -> None:
        """By the `code` of its error table, or the status."""
        super().__init__(code)
        self.code = code


class Later(Exception):
    """The rate does not allow it yet."""


class Pace:
    """Lets so many calls a second begin, evenly."""

    def __init__(self) -> None:
        """Nothing has begun yet."""
        self._free_at = 0.0

    async def turn(self, per_second: float, begin_by: float) -> None:
        """Wait for one's turn. Raises Later when that is not before `begin_by`, of the loop's clock."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._free_at)
        if at > begin_by:
            raise Later("others were before it")
        self._free_at = at + 1 / per_second
        await asyncio.sleep(at - now)


_PACES: WeakKeyDictionary[VendorClient, dict[str, Pace]] = WeakKeyDictionary()  # of one process, by what they pace


async def each(
    pending: Sequence[EffectRequest[F]],
    outside: Outside,
    make: Callable[[EffectRequest[F]], Awaitable[Any]],
    *,
    pace: str,
    per_second: float,
) -> list[EffectResult[F]]:
    """Make these calls in their order, as fast as the rate allows; what goes wrong with one is tried again soon."""
    turns = _PACES.setdefault(outside.http, {}).setdefault(pace, Pace())
    begin_by = asyncio.get_running_loop().time() + BEGIN_SECONDS

    async def answer(one: EffectRequest[F]) -> EffectResult[F]:
        try:
            await turns.turn(per_second, begin_by)
            return EffectResult(one.effect, one.id, one.key, result=await make(one))
        except Later as later:
            return EffectResult(one.effect, one.id, one.key, retry=str(later), retry_after_seconds=0.0)
        except (*VENDOR_AWAY, Refused) as error:
            seconds = min(AGAIN_SECONDS_MAX, AGAIN_FIRST_SECONDS * 2 ** min(one.attempt - 1, 10))
            why = str(error) or type(error).__name__
            return EffectResult(one.effect, one.id, one.key, retry=why, retry_after_seconds=seconds)

    return await asyncio.gather(*map(answer, pending))


async def tell(action: str, body: Mapping[str, Any], outside: Outside) -> Any:
    """Have the vendor do something; its `Result`.

    Raises:
        Refused: it did not do it.
        VENDOR_AWAY: there is no answer: nobody knows.
    """
    settings = outside.settings(Settings)
    content = to_json({"AppId": settings.byteplus_app_id, **body})
    url, headers = _signed("POST", action, {}, content, outside)
    return _result(await outside.http.post(url, content, headers, seconds_max=CALL_SECONDS))


async def ask(action: str, query: Mapping[str, str], outside: Outside) -> Any:
    """Ask the vendor something; its `Result`. Raises as `tell`."""
    query = {"AppId": outside.settings(Settings).byteplus_app_id, **query}
    url, headers = _signed("GET", action, query, b"", outside)
    return _result(await outside.http.get(url, headers, seconds_max=CALL_SECONDS))


def _signed(
    method: str, action: str, query: Mapping[str, str], content: bytes, outside: Outside
) -> tuple[str, dict[str, str]]:
    settings = outside.settings(Settings)
    query = {"Action": action, "Version": settings.byteplus_version, **query}
    own = {"Content-Type": "application/json"} if content else {}
    request = Request(method, urlsplit(settings.byteplus_origin).netloc, query, content, own)
    now = instant(outside.clock.micros())
    return f"{settings.byteplus_origin}/?{canonical_query(query)}", sign(request, settings.credentials, now)


def _result(response: VendorResponse) -> Any:
    """What an answer says. An error may come with status 200, and any status without one that can be read."""
    try:
        answer = from_json(response.body)
        error = answer["ResponseMetadata"].get("Error")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Refused(f"status {response.status}, which cannot be read") from None
    if error or not response.is_success:
        code = error.get("Code") if isinstance(error, dict) else None
        raise Refused(str(code or f"status {response.status}")[:200])
    return answer.get("Result")
