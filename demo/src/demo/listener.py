"""A real pusher-js client, in a node process of its own (the devstack's `listen.mjs`), and what it has heard."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from demo.waiting import WAIT_SECONDS, until
from devstack.brief import brief
from devstack.listening import SCRIPT as LISTEN

LEAVE_SECONDS = 5.0  # for node to end by itself, once its stdin did
LINE_BYTES_MAX = 1 << 20  # far above Pusher's 10 KiB of data


@dataclass(frozen=True, slots=True)
class Pushed:
    """One push on one channel, as the client received it."""

    at: float
    """Unix seconds, by the client."""
    channel: str
    name: str
    data: Mapping[str, Any]

    @property
    def brief(self) -> str:
        """In a few words."""
        return brief(self.name, self.data)

    @property
    def seq(self) -> int:
        """The push's number: the same on all its channels, and increasing on each."""
        number: int = self.data["seq"]
        return number

    @property
    def event_id(self) -> str:
        """The event that it tells of."""
        value: str = self.data["event_id"]
        return value


class Listener:
    """One client with one user's token, subscribed to some channels while the block runs."""

    def __init__(self, status: Mapping[str, Any], token: str, channels: Sequence[str]) -> None:
        pusher = status["pusher"]
        auth = f"{status['gateway']}/pusher/auth"
        self._argv = (str(LISTEN), pusher["host"], str(pusher["port"]), pusher["key"], auth, token, *channels)
        self._env = {**os.environ, "NODE_PATH": status["node_modules"]}
        self._channels = channels
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.pushes: list[Pushed] = []
        self.received: list[Mapping[str, Any]] = []
        """All else that it said: connected, subscribed, signed in, refused, lost."""
        self._connected = False
        self._subscribed: set[str] = set()

    async def __aenter__(self) -> Self:
        """Connect, and return once every channel is subscribed; Unmet if one is not."""
        self._process = await asyncio.create_subprocess_exec(
            "node",
            *self._argv,
            env=self._env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
        )
        self._reading = asyncio.create_task(self._listen(self._process))
        try:
            await self.listens()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave, as a browser that is closed."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), LEAVE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reading:
            with suppress(asyncio.CancelledError):
                await self._reading

    async def listens(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until it is connected and hears every channel; Unmet if it does not.

        Pusher repeats nothing to whoever reconnects.
        """

        async def said() -> list[Mapping[str, Any]]:
            return self.received

        await until("pusher-js to connect and subscribe", said, lambda _: self._is_listening, seconds)

    async def signs_in(self) -> None:
        """Tell Pusher whose connection this is: from now on it can be cut. Unmet if it does not take that."""
        if self._process is None or self._process.stdin is None:
            raise AssertionError("the client was started with a pipe")
        self._process.stdin.write(b"sign in\n")
        await self._process.stdin.drain()

        async def said() -> list[str]:
            return [message["heard"] for message in self.received]

        await until("pusher-js to sign in", said, lambda heard: "signed in" in heard)

    @property
    def _is_listening(self) -> bool:
        return self._connected and self._subscribed >= set(self._channels)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise AssertionError("the client was started with a pipe")
        async for line in process.stdout:
            message = json.loads(line)
            if message["heard"] == "push":
                self.pushes.append(
                    Pushed(message["at_ms"] / 1_000, message["channel"], message["name"], message["data"])
                )
                continue
            self.received.append(message)
            if message["heard"] == "subscribed":
                self._subscribed.add(message["channel"])
            elif message["heard"] in ("connected", "lost"):
                self._connected = message["heard"] == "connected"
                self._subscribed.clear()
