"""What a process writes, to a terminal or to a pipe: all of it, for tests of what must not be there.

output = Output(terminal=True)
process = output.start([sys.executable, "-m", "escrow", "api"], env={...})
said = output.whole()
"""

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class Output:
    """The one end of it; the process has the other."""

    def __init__(self, *, terminal: bool) -> None:
        """A terminal of its own, or a pipe."""
        self._reading, self._writing = pty.openpty() if terminal else os.pipe()

    def start(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start it; once, and then read `whole`."""
        process = subprocess.Popen(  # noqa: S603 - what a test names
            command,
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "TERM": "xterm", **env},
            stdin=self._writing if os.isatty(self._writing) else subprocess.DEVNULL,
            stdout=self._writing,
            stderr=self._writing,
        )
        os.close(self._writing)
        return process

    def whole(self) -> str:
        """All of it, until the process has ended."""
        parts: list[bytes] = []
        while True:
            try:
                part = os.read(self._reading, 65_536)
            except OSError:  # what a terminal says at its end
                part = b""
            if not part:
                os.close(self._reading)
                return b"".join(parts).decode()
            parts.append(part)
