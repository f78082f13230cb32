"""A client of Pusher's protocol in this process: hundreds can listen at once, where each pusher-js would be a process.

    async with PusherClient(status["pusher"]) as client:
        await client.subscribe("private-user@…", {"auth": "…"})
        client.heard

It never gives a silent server up, and does not connect again: what is pushed while Pusher stands still, it hears later.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from devstack.errors import StackError

ANSWER_SECONDS = 60.0  # milliseconds at best; a busy machine may need far longer
OWN = ("pusher:", "pusher_internal:")


@dataclass(frozen=True, slots=True)
class Heard:
    """One push on one channel."""

    channel: str
    name: str
    data: Mapping[str, Any]


class PusherClient:
    """One connection, and what was heard on it so far, in order."""

    def __init__(self, pusher: Mapping[str, Any]) -> None:
        """`pusher`: as `devstack status` says where it is."""
        self._url = f"ws://{pusher['host']}:{pusher['port']}/app/{pusher['key']}?protocol=7&client=devstack&version=1"
        self._subscribing: dict[str, asyncio.Future[None]] = {}
        self._line: ClientConnection
        self._reading: asyncio.Task[None]
        self.socket_id = ""
        self.heard: list[Heard] = []

    async def __aenter__(self) -> Self:
        """Connect."""
        self._line = await connect(self._url, open_timeout=ANSWER_SECONDS, ping_interval=None, proxy=None)
        established = json.loads(await self._line.recv())
        self.socket_id = json.loads(established["data"])["socket_id"]
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave."""
        await self._line.close()
        await self._reading

    async def subscribe(self, channel: str, signed: Mapping[str, str]) -> None:
        """Listen to a channel, with what the authorisation endpoint has `signed`.

        Raises:
            StackError: Pusher refuses it.
        """
        answered = self._subscribing[channel] = asyncio.get_running_loop().create_future()
        await self._line.send(json.dumps({"event": "pusher:subscribe", "data": {"channel": channel, **signed}}))
        await asyncio.wait_for(answered, ANSWER_SECONDS)

    def on(self, channel: str) -> list[Heard]:
        """What was heard on one channel, in order."""
        return [one for one in self.heard if one.channel == channel]

    async def _read(self) -> None:
        async for text in self._line:
            message = json.loads(text)
            name, channel = message["event"], message.get("channel", "")
            if not name.startswith(OWN):
                self.heard.append(Heard(channel, name, json.loads(message["data"])))
            elif name == "pusher_internal:subscription_succeeded":
                self._subscribing.pop(channel).set_result(None)
            elif name == "pusher:subscription_error":
                self._subscribing.pop(channel).set_exception(StackError(f"{channel} is refused: {message['data']}"))
