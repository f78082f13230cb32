"""The client of BytePlus RTC: starts and stops snapshots, puts users out of rooms.

Each call waits for its turn under the account's rate limit, has a deadline, and is repeated where that is safe. All
that is asked for here may be asked twice; only a start that may have been made is not repeated, as it could undo a
stop that came between.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import aiohttp
from yarl import URL

from byteplus.errors import NotNow, NoTurn, OutcomeUnknown, RateLimited, Refused, Unreachable, error_of
from byteplus.limits import Gate, Limits
from byteplus.signing import Credentials, Request, canonical_query, sign
from byteplus.snapshots import ALREADY_EXISTS, HAS_BEEN_STARTED, NOT_FOUND, OK, Snapshots, Start, Stop, Task, task_of

ANSWER_BYTES_MAX: Final = 1_000_000  # 10 000 users of a room with 100 characters each
CONNECTIONS_MAX: Final = 400  # a second's calls, each of which takes all of its time
KEPT_SECONDS: Final = 5.0  # a connection that nobody uses
SUCCESS: Final = 200
BANNED_ALREADY: Final = "has been banned"  # a part of the `Result` of a ban that is asked for twice


class Clock(Protocol):
    """What the client takes the time from."""

    def micros(self) -> int:
        """Microseconds since the epoch: a request is signed with it, and is valid for 15 minutes."""

    def monotonic(self) -> float:
        """Seconds since some moment; never steps back."""


@dataclass(frozen=True, slots=True)
class Account:
    """An app of the vendor's and how it is called. Host and region are a pair; versions are the vendor's dates."""

    app_id: str
    credentials: Credentials
    base_url: str = "https://open.byteplusapi.com"
    snapshots_version: str = "2022-06-01"
    rooms_version: str = "2023-11-01"
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try. A call is over after `call_seconds`, its wait for the rate limit and all attempts included."""

    call_seconds: float = 10.0
    turn_seconds: float | None = None  # an attempt's wait for the rate limit, if that is to be less
    attempt_seconds: float = 2.0
    attempts: int = 3
    pause_seconds: float = 0.2  # before the second attempt, doubled before each further one


@dataclass(frozen=True, slots=True)
class RoomUsers:
    """Who is in a room now. Of the invisible the vendor names 10 000 at most."""

    visible: tuple[str, ...] = ()
    invisible: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Action:
    name: str
    version: str
    gate: Gate
    method: str = "POST"
    may_repeat: bool = field(default=True, kw_only=True)  # also when it may have been done


class RtcClient:
    """Calls the vendor for one account, over one pooled session. Connects when it is first used.

    Every call raises `ByteplusError`s only, see `byteplus.errors`. `priority` orders those who wait for the same rate
    limit: the smallest first, then who came first.
    """

    def __init__(self, account: Account, clock: Clock, patience: Patience = Patience()) -> None:
        """Open nothing yet."""
        self._account, self._clock, self._patience = account, clock, patience
        self._session: aiohttp.ClientSession | None = None
        limits = account.limits
        snapshots, rooms = account.snapshots_version, account.rooms_version
        starts_and_stops = self._gate(limits.snapshots)
        self._start = _Action("StartSnapshot", snapshots, starts_and_stops, may_repeat=False)
        self._stop = _Action("StopSnapshot", snapshots, starts_and_stops)
        self._get = _Action("GetSnapshotTask", snapshots, self._gate(limits.snapshot_queries), "GET")
        self._ban = _Action("BanRoomUser", rooms, self._gate(limits.bans))
        self._update_ban = _Action("UpdateBanRoomUserRule", rooms, self._gate(limits.ban_updates))
        self._users = _Action("GetRoomOnlineUsers", rooms, self._gate(limits.user_queries), "GET")

    async def start_snapshot(self, room_id: str, task_id: str, snapshots: Snapshots, *, priority: float = 0.0) -> Start:
        """Have pictures taken of a room. Raises OutcomeUnknown at once: the caller asks again, if it still wants it.

        A task that runs already keeps its own parameters.
        """
        asked = {"RoomId": room_id, "TaskId": task_id, **snapshots.as_body()}
        try:
            result = await self._call(self._start, asked, priority)
        except Refused as refusal:
            if refusal.code == ALREADY_EXISTS:
                return Start.ALREADY
            raise
        if result == OK:
            return Start.STARTED
        if isinstance(result, str) and HAS_BEEN_STARTED in result:
            return Start.ALREADY
        raise OutcomeUnknown(f"a start has neither failed nor succeeded: {result!r:.200}")

    async def stop_snapshot(self, room_id: str, task_id: str, *, priority: float = 0.0) -> Stop:
        """End a task. One that is not there, or is over, is what was wanted."""
        try:
            result = await self._call(self._stop, {"RoomId": room_id, "TaskId": task_id}, priority)
        except Refused as refusal:
            if refusal.code == NOT_FOUND:
                return Stop.ALREADY
            raise
        if result == OK:
            return Stop.STOPPED
        raise OutcomeUnknown(f"a stop has neither failed nor succeeded: {result!r:.200}")

    async def find_snapshot(self, room_id: str, task_id: str, *, priority: float = 0.0) -> Task | None:
        """How it stands with a task; None if the vendor knows none, or it was started over 72 hours ago."""
        try:
            result = await self._call(self._get, {"RoomId": room_id, "TaskId": task_id}, priority)
        except Refused as refusal:
            if refusal.code == NOT_FOUND:
                return None
            raise
        try:
            return task_of(result)
        except (KeyError, TypeError, ValueError) as error:
            raise OutcomeUnknown(f"a task that cannot be read: {result!r:.200}") from error

    async def ban_user(self, room_id: str, user_id: str, *, seconds: int = 0, priority: float = 0.0) -> None:
        """Put a user out of a room, if they are there, and keep them out for `seconds`: 0, or 60 to 259 200.

        Other numbers the vendor moves to the nearest of these. With 0 they may enter again at once.
        """
        asked = {"RoomId": room_id, "UserId": user_id, "ForbiddenInterval": seconds}
        await self._do(self._ban, asked, priority)

    async def ban_room(self, room_id: str, *, seconds: int = 0, priority: float = 0.0) -> None:
        """Put everybody out of a room, and keep everybody out for `seconds`, as with `ban_user`."""
        await self._do(self._ban, {"RoomId": room_id, "ForbiddenInterval": seconds}, priority)

    async def lift_ban(self, room_id: str, user_id: str, *, priority: float = 0.0) -> None:
        """Let a user into a room again who has been kept out."""
        asked = {"RoomId": room_id, "UserId": user_id, "ForbiddenInterval": 0}
        await self._do(self._update_ban, asked, priority)

    async def users_in(self, room_id: str, *, priority: float = 0.0) -> RoomUsers:
        """Who is in a room; nobody, if there is no such room."""
        result = await self._call(self._users, {"RoomId": room_id}, priority)
        if not isinstance(result, dict):
            raise OutcomeUnknown(f"users that cannot be read: {result!r:.200}")
        named = (result.get(name) or () for name in ("VisibleUserList", "InvisibleUserList"))
        return RoomUsers(*(tuple(map(str, users)) for users in named))

    async def close(self) -> None:
        """End: who waits for the rate limit is cancelled, every socket closed."""
        for gate in {id(action.gate): action.gate for action in self._actions()}.values():
            await gate.close()
        if self._session is not None:
            await self._session.close()

    def _actions(self) -> tuple[_Action, ...]:
        return self._start, self._stop, self._get, self._ban, self._update_ban, self._users

    def _gate(self, calls_a_second: float) -> Gate:
        return Gate(calls_a_second, self._clock.monotonic)

    async def _do(self, action: _Action, asked: Mapping[str, Any], priority: float) -> None:
        result = await self._call(action, asked, priority)
        said = result.get("message", result.get("Message")) if isinstance(result, dict) else result
        if said not in ("success", OK) and not (isinstance(said, str) and BANNED_ALREADY in said):
            raise OutcomeUnknown(f"{action.name} has neither failed nor succeeded: {result!r:.200}")

    async def _call(self, action: _Action, asked: Mapping[str, Any], priority: float) -> Any:
        """Ask until there is an answer, the attempts are used up, or the time is. Raises what was last wrong."""
        last: NotNow = NoTurn(f"{action.name}: no turn in time")
        try:
            async with asyncio.timeout(self._patience.call_seconds):
                for attempt in range(self._patience.attempts):
                    if attempt:
                        await asyncio.sleep(self._patience.pause_seconds * 2 ** (attempt - 1))
                    await self._turn(action, priority, last)
                    before, last = last, OutcomeUnknown(f"{action.name}: no answer in time")
                    try:
                        return await self._attempt(action, asked)
                    except NotNow as error:
                        last = before if isinstance(before, OutcomeUnknown) else error  # what may be done stays so
                        if isinstance(error, RateLimited):
                            action.gate.drain()
                        if isinstance(error, OutcomeUnknown) and not action.may_repeat:
                            break
        except TimeoutError as error:
            raise last from error
        raise last

    async def _turn(self, action: _Action, priority: float, late: NotNow) -> None:
        """Wait for the rate limit. Raises `late` when that takes too long."""
        try:
            async with asyncio.timeout(self._patience.turn_seconds):
                await action.gate.enter(priority)
        except TimeoutError as error:
            raise late from error

    async def _attempt(self, action: _Action, asked: Mapping[str, Any]) -> Any:
        request = self._request(action, {"AppId": self._account.app_id, **asked})
        try:
            status, body = await self._send(request)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(f"{action.name}: {error}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OutcomeUnknown(f"{action.name}: no answer: {type(error).__name__} {error}") from error
        return _result(status, body)

    def _request(self, action: _Action, asked: Mapping[str, Any]) -> Request:
        query = {"Action": action.name, "Version": action.version}
        host = URL(self._account.base_url).authority
        if action.method == "GET":
            return Request("GET", host, {**query, **asked})
        body = json.dumps(asked, ensure_ascii=False, separators=(",", ":")).encode()
        return Request("POST", host, query, body, {"Content-Type": "application/json"})

    async def _send(self, request: Request) -> tuple[int, bytes]:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=CONNECTIONS_MAX, keepalive_timeout=KEPT_SECONDS)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._clock.micros())
        url = URL(f"{self._account.base_url}{request.path}?{canonical_query(request.query)}", encoded=True)
        async with self._session.request(
            request.method,
            url,
            data=request.body or None,
            headers=sign(request, self._account.credentials, now),
            skip_auto_headers=["Content-Type"],  # what is signed is what is sent
            timeout=aiohttp.ClientTimeout(total=self._patience.attempt_seconds),
            allow_redirects=False,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise aiohttp.ClientPayloadError(f"an answer of over {ANSWER_BYTES_MAX} bytes")
            return response.status, bytes(body)


def _result(status: int, body: bytes) -> Any:
    """What an answer holds. A call has failed if its status is not 200, and also if an error stands in a 200."""
    try:
        answer = json.loads(body)
        metadata = answer["ResponseMetadata"]
        request_id = str(metadata.get("RequestId", ""))
        error = metadata.get("Error") or {}
        code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    except (ValueError, KeyError, TypeError, AttributeError) as unreadable:
        if status != SUCCESS:
            raise error_of(status, "", f"HTTP {status}: {body[:200]!r}") from unreadable
        raise OutcomeUnknown(f"an answer that cannot be read: {body[:200]!r}") from unreadable
    if error or status != SUCCESS:
        raise error_of(status, code, message or f"HTTP {status}", request_id)
    return answer.get("Result")
