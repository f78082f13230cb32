"""Commands to a running supervisor, over a Unix socket in its data directory: one line of JSON each way."""

import json
import os
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal

from devstack.errors import StackError

Command = Literal["start", "stop", "restart"]

ANSWER_SECONDS = 240  # longer than any part may take to stop and become ready again


def socket_path(directory: int) -> str:
    """The socket, by way of the open directory: its name may have 107 bytes, a data directory's may be longer."""
    return f"/proc/self/fd/{directory}/control.sock"


def tell(data: Path, command: Command, name: str, env: Mapping[str, str] | None = None) -> int | None:
    """Have one part started, stopped or restarted, and wait until that is done; its new pid, if it has one.

    Raises StackError when no stack is there, or when the part does not do as it should.
    """
    directory = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with closing(socket.socket(socket.AF_UNIX)) as line:
            line.settimeout(ANSWER_SECONDS)
            line.connect(socket_path(directory))
            line.sendall(json.dumps({"command": command, "name": name, "env": dict(env or {})}).encode() + b"\n")
            answer = json.loads(line.makefile("rb").readline())
    except (OSError, ValueError) as error:
        raise StackError(f"the stack in {data} does not answer ({error}): `devstack status`") from error
    finally:
        os.close(directory)
    if "error" in answer:
        raise StackError(answer["error"])
    pid: int | None = answer["pid"]
    return pid
