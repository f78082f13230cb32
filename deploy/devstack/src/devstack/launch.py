"""Starting a supervisor, and the line to it: standard input and output, for as long as the two belong together."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping

from devstack import state
from devstack.errors import StackError
from devstack.process import Identity, wait_gone
from devstack.settings import CHECKOUT, Settings

STOP_SECONDS = 45  # the services may take 12, then the servers 15; then patience ends


class SupervisorHandle:
    """To a supervisor that we started. Disconnecting ends a stack that is not up yet, or is attached to us."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._supervisor: Identity | None = None
        logs = settings.data / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / "supervisor.log").open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-m", "devstack.supervisor"),
                cwd=CHECKOUT,
                env=dict(environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # neither Ctrl-C nor the end of the terminal reaches it
            )

    def follow(self, say: Callable[[str], None]) -> bool:
        """Hand over the settings and listen until the stack is up. False if another supervisor has the data directory.

        Raises StackError with what the supervisor gives as the reason when the stack does not come up.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("both are pipes")
        self._process.stdin.write(self._settings.to_json().encode() + b"\n")
        self._process.stdin.flush()
        failure = f"see {self._settings.data / 'logs' / 'supervisor.log'}"
        for line in self._process.stdout:
            news = json.loads(line)
            if "supervisor" in news:
                self._supervisor = Identity(*news["supervisor"])
                self._process.wait()  # it has forked itself off, so that it never is our child
            elif "locked" in news:
                return False
            elif "up" in news:
                return True
            elif "failed" in news:
                failure = news["failed"]
            else:
                say(news["say"])
        raise StackError(f"the stack did not come up: {failure}")

    def detach(self) -> None:
        """The stack is up and stays."""
        self._close()

    def disconnect(self) -> None:
        """End the stack and return when nothing is left of it."""
        self._close()
        if self._supervisor and not wait_gone(self._supervisor, STOP_SECONDS):
            state.kill_stack(self._settings.data)

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
        self._process.wait()
