"""A browser's ears: a pusher-js client with one user's token, which says when it hears."""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from devstack import state
from devstack.downloads import HERE
from devstack.errors import StackError
from devstack.printable import printable
from devstack.stack import Stack
from devstack.tokens import access_token, of_stack

SCRIPT = HERE / "node" / "listen.mjs"
TOKEN_SECONDS = 43_200  # a listener outlives every session: whoever reconnects shows the same token again


def channels(user_id: str, streamers: Iterable[str]) -> list[str]:
    """What the app of this user subscribes to, at home and in these streams."""
    of_streams = (
        (f"presence-stream@{streamer}", f"private-stream@{streamer}")
        if streamer == user_id
        else (f"presence-stream@{streamer}", f"presence-stream-viewer@{streamer}.preview.{user_id}")
        for streamer in streamers
    )
    return [f"private-user@{user_id}", *(name for names in of_streams for name in names)]


def listen(stack: Stack, user_id: str, names: Sequence[str], *, as_json: bool) -> None:
    """Print what is pushed on these channels, a line each, until the stack ends.

    Raises StackError when a channel is refused to this user.
    """
    status = stack.status()
    pusher = status["pusher"]
    token = access_token(user_id, (), of_stack(stack.settings.variables, stack.data), TOKEN_SECONDS)
    where = (pusher["host"], str(pusher["port"]), pusher["key"], f"{status['gateway']}/pusher/auth", token)
    client = subprocess.Popen(
        ("node", str(SCRIPT), *where, *names),
        env={**os.environ, "NODE_PATH": status["node_modules"]},
        stdin=subprocess.PIPE,  # it ends when this closes, and that is when we do
        stdout=subprocess.PIPE,
    )
    with client:
        for line in client.stdout or ():
            told = json.loads(line)
            print(printable(line.decode().rstrip() if as_json else _shown(told, names)), flush=True)
            if told["heard"] == "refused":
                raise StackError(f"{told['channel']} is not this user's to hear ({told['status']})")
            if told["heard"] == "lost" and not _is_up(stack):
                return


def _shown(told: Mapping[str, Any], names: Sequence[str]) -> str:
    """One line for people."""
    if told["heard"] == "push":
        at = time.strftime("%H:%M:%S", time.localtime(told["at_ms"] / 1_000))
        return f"{at} {told['name']} on {told['channel']}: {json.dumps(told['data'], separators=(',', ':'))}"
    return f"{told['heard']}: {', '.join(names) if told['heard'] == 'listening' else told.get('channel', '')}".rstrip(
        ": "
    )


def _is_up(stack: Stack) -> bool:
    found = state.read(stack.data)
    return found is not None and found.runs and found.state == "up"
