"""The watchdog: a process whose event loop is blocked ends, and so does one that should have ended and hangs.

Nothing inside the loop can notice that the loop does not come round. faulthandler's timer is a thread in C, which runs
also while some C code keeps the interpreter to itself; it writes where each thread is, without the values of locals,
and ends the process. The loop winds it up again once a second.
"""

import asyncio
import faulthandler

ROUND_SECONDS = 1.0


class Watchdog:
    """Ends this process unless it is wound up in time."""

    def __init__(self, seconds: float) -> None:
        """Let the loop be blocked for less than so many `seconds`."""
        self._seconds = seconds
        self._ending = False
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Wind it up until `stop`."""
        while not self._stopping.is_set():
            if not self._ending:
                faulthandler.dump_traceback_later(self._seconds, exit=True)
            try:
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Wind it up no more: what is left of its time is for the end."""
        self._stopping.set()

    def end_within(self, seconds: float) -> None:
        """Whatever hangs, this process ends within `seconds`. May be called by a signal."""
        self._ending = True
        faulthandler.dump_traceback_later(seconds, exit=True)
