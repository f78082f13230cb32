"""A real pusher-js client, in a node process of its own (the devstack's `listen.mjs`), and what it has heard."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from demo.brief import brief
from demo.waiting import until
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
        self.heard: list[Mapping[str, Any]] = []
        """All else that it said: connected, subscribed, refused, lost."""

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
            await until("pusher-js to connect and subscribe", self._said, self._is_ready)
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

    async def _said(self) -> list[Mapping[str, Any]]:
        return self.heard

    def _is_ready(self, heard: Sequence[Mapping[str, Any]]) -> bool:
        subscribed = {line["channel"] for line in heard if line["heard"] == "subscribed"}
        return any(line["heard"] == "connected" for line in heard) and subscribed >= set(self._channels)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise AssertionError("the client was started with a pipe")
        async for line in process.stdout:
            told = json.loads(line)
            if told["heard"] == "push":
                self.pushes.append(Pushed(told["at_ms"] / 1_000, told["channel"], told["name"], told["data"]))
            else:
                self.heard.append(told)
