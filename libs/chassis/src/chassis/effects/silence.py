"""A vendor that does not answer: told once when it begins, and once when it is over, however many calls wait."""

import structlog

from chassis.clock import Clock

SECONDS_MAX = 5.0  # then it is trouble, and no hiccup
KEYS_MIN = 2  # one key that a vendor will not have says nothing of the others

_log = structlog.get_logger(__name__)


class Silence:
    """Whether any call of one kind was answered lately."""

    def __init__(self, name: str, clock: Clock) -> None:
        """None is known to have failed."""
        self._name = name
        self._clock = clock
        self._since: float | None = None
        self._keys: set[str] = set()
        self._calls = 0

    @property
    def lasts(self) -> bool:
        """Whether nothing was answered since the last call, or since some."""
        return self._since is not None

    @property
    def trouble(self) -> str | None:
        """What is wrong, if it is not one key's fault and has lasted."""
        seconds = self._clock.monotonic() - self._since if self._since is not None else 0.0
        if seconds <= SECONDS_MAX or len(self._keys) < KEYS_MIN:
            return None
        return f"no call {self._name} was answered for {seconds:.0f} s"

    def goes_on(self, asked_at: float, keys: set[str], why: str) -> None:
        """Nothing of a batch was answered, nor was anything since."""
        if self._since is None:
            self._since = asked_at
            _log.warning("vendor does not answer", name=self._name, reason=why)
        self._calls += 1
        if len(self._keys) < KEYS_MIN:
            self._keys |= keys

    def ends(self) -> None:
        """Something was."""
        if self._since is not None:
            seconds = round(self._clock.monotonic() - self._since, 1)
            _log.info("vendor answers again", name=self._name, seconds=seconds, calls=self._calls)
        self._since = None
        self._keys = set()
        self._calls = 0
