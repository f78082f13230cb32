"""The loop of a task: a round of work, then a wait for the wake-up; a server that is away is waited for.

It knows when it last came round, so that somebody can watch: a handler or a vendor's client that never returns holds up
everything else the leader does.
"""

from collections.abc import Awaitable, Callable

import structlog

from chassis.context import Runtime
from chassis.runtime.backoff import back_off
from chassis.runtime.logs import reason
from chassis.storage.mongo import PyMongoError

FIRST_WAIT_SECONDS = 0.1  # after an error; doubles

_log = structlog.get_logger(__name__)


class Loop:
    """One thing done again and again."""

    def __init__(
        self,
        name: str,
        runtime: Runtime,
        wakeup: str,
        *,
        away: tuple[type[Exception], ...] = (PyMongoError,),
        wait_seconds_max: float = 1.0,
        failed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Wait for the wake-up `wakeup`; errors that are `away` are waited out, each after `failed`."""
        self._name = name
        self._clock = runtime.clock
        self._wakeups = runtime.wakeups
        self._wakeup = wakeup
        self._away = away
        self._wait_seconds_max = wait_seconds_max
        self._failed = failed
        self.stopping = False
        self._round_at = runtime.clock.monotonic()
        self._waiting = False

    @property
    def round_at(self) -> float:
        """When it last came round; who waits for work is no hang."""
        return self._clock.monotonic() if self._waiting else self._round_at

    async def run(self, work: Callable[[], Awaitable[float]]) -> None:
        """Do `work` until `stop`; each round says for how long there is nothing to do, unless a wake-up comes."""
        failures = 0
        self.came_round()
        while not self.stopping:
            try:
                wait_seconds = await work()
            except self._away as error:
                failures += 1
                tell = _log.warning if failures == 1 else _log.debug
                tell("waiting", loop=self._name, error=reason(error), failures=failures)
                if self._failed is not None:
                    await self._failed()
                await back_off(failures, first_seconds=FIRST_WAIT_SECONDS, seconds_max=self._wait_seconds_max)
            else:
                if failures:
                    _log.info("going on", loop=self._name, failures=failures)
                failures = 0
                if wait_seconds > 0 and not self.stopping:  # its wake-up may have been taken for one that work has seen
                    self._waiting = True
                    await self._wakeups.wait(self._wakeup, wait_seconds)
                    self._waiting = False
            self.came_round()

    def came_round(self) -> None:
        """Something was done, or there was nothing to do."""
        self._round_at = self._clock.monotonic()

    def stop(self) -> None:
        """End after this round."""
        self.stopping = True
        self._wakeups.notify([self._wakeup])
