"""One part and its process: started, seen ready, started again when it dies, stopped."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from devstack.errors import StackError
from devstack.parts import Part
from devstack.process import Identity, die_with, identity_of
from devstack.settings import base_environment, is_free

State = Literal["waiting", "starting", "ready", "dead", "stopped"]

CHECK_INTERVAL_SECONDS = 0.1
FIRST_BACK_OFF_SECONDS = 0.1  # a single crash should cost little
LONGEST_BACK_OFF_SECONDS = 5.0
STEADY_SECONDS = 10.0  # who lived this long after being ready starts with the first back-off again
LOG_LIMIT_BYTES = 16 << 20  # at a start, a longer log becomes NAME.log.1
TAIL_LINES = 15


class Child:
    """Keeps one part alive. Everything runs in the supervisor's one thread, which is also the one that forks."""

    def __init__(self, part: Part, log: Path, changed: Callable[[], None], say: Callable[[str], None]) -> None:
        self.part = part
        self.state: State = "waiting"
        self.process: Identity | None = None
        self.restarts = 0
        self._log = log
        self._changed = changed
        self._say = say
        self._running: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self, overlay: Mapping[str, str] | None = None) -> None:
        """Start the part and wait until it is ready; from then on it is kept alive.

        `overlay` is put over the environment of this one process: when it dies, the next one starts without.
        Raises StackError with the end of its log if it dies or is not ready in time; it is tried again until `stop`.
        """
        began = time.monotonic()
        try:
            await self._launch(overlay or {})
        except (StackError, OSError):
            await self._end(0)
            self._keeper = asyncio.create_task(self._keep())  # what should run runs, as soon as it can
            raise
        except BaseException:
            await self.stop()
            raise
        self._keeper = asyncio.create_task(self._keep())
        self._say(f"{self.part.name} is ready ({time.monotonic() - began:.1f} s)")

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL when the part takes longer than it may. Returns when the process is gone."""
        if self._keeper:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        await self._end(self.part.stop_seconds)
        self._become("stopped")

    async def _launch(self, overlay: Mapping[str, str]) -> None:
        self._become("starting")
        for port in self.part.ports:
            if not is_free(port):
                taken = f"{self.part.name} cannot start: port {port} is taken by another program"
                raise StackError(f"{taken}; a stack in another data directory (--data) has other ports")
        await self.part.prepare()
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT_BYTES:
            self._log.replace(self._log.with_name(f"{self._log.name}.1"))
        with self._log.open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                *self.part.argv,
                env={**base_environment(), **self.part.env, **overlay},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with(os.getpid()),
            )
        self.process = identity_of(self._running.pid)
        self._become("starting")
        await self._until_ready(self._running)
        self._become("ready")

    async def _until_ready(self, running: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + self.part.ready_seconds
        while not await self.part.ready():
            if running.returncode is not None:
                raise StackError(
                    f"{self.part.name} ended at its start ({how_it_ended(running.returncode)}){self._tail()}"
                )
            if time.monotonic() > deadline:
                raise StackError(f"{self.part.name} was not ready after {self.part.ready_seconds:.0f} s{self._tail()}")
            await asyncio.sleep(CHECK_INTERVAL_SECONDS)

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return f"; the end of {self._log}:\n" + "\n".join(f"    {line}" for line in lines)

    async def _keep(self) -> None:
        back_off = FIRST_BACK_OFF_SECONDS
        while True:
            since = time.monotonic()
            how = how_it_ended(await self._running.wait()) if self._running else "before it began"
            if time.monotonic() - since > STEADY_SECONDS:
                back_off = FIRST_BACK_OFF_SECONDS
            self.restarts += 1
            self._become("dead")
            self._say(f"{self.part.name} died ({how}), starting it again in {back_off:.1f} s")
            await asyncio.sleep(back_off)
            back_off = min(back_off * 2, LONGEST_BACK_OFF_SECONDS)
            try:
                await self._launch({})
                self._say(f"{self.part.name} is ready again (restart {self.restarts})")
            except (StackError, OSError) as error:
                self._say(str(error))
                await self._end(0)

    async def _end(self, grace_seconds: float) -> None:
        running = self._running
        if running is None or running.returncode is not None:
            return
        with suppress(ProcessLookupError):
            running.send_signal(signal.SIGTERM)
            running.send_signal(signal.SIGCONT)  # a test may have paused it
        try:
            await asyncio.wait_for(running.wait(), grace_seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                running.kill()
            await running.wait()

    def _become(self, state: State) -> None:
        if state in ("dead", "stopped"):
            self.process = None
        self.state = state
        self._changed()


def how_it_ended(code: int) -> str:
    """An exit status in words."""
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
