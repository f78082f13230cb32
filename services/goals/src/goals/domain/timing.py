"""The lengths of time that decisions about goals depend on (SPEC §11)."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """All of them, as the service was started with."""

    step: timedelta
    """What bought time is counted in."""
    proposal: timedelta
    """A proposal waits this long for its money."""
    invitation: timedelta
    """An invitation is open this long."""
    window: timedelta
    """The exclusive must be created within this time after its invitation's end; then the agreement lapses."""
    cooldown: timedelta
    """Who was refused may not ask again for this long."""

    @property
    def step_seconds(self) -> int:
        """The step, in whole seconds."""
        return int(self.step.total_seconds())
