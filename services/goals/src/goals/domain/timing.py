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
    private_judged: timedelta
    """A private goal that was reached is owed for this long."""
    session_max: timedelta
    """A session is over after this time, told or not."""
    refused_cooldown: timedelta
    """Who was refused may not ask again for this long."""
    timed_out_cooldown: timedelta
    """Nor who got no answer; doubling with each in a row, up to the one above."""
    unpaid_cooldown: timedelta
    """Nor who had not the diamonds."""

    @property
    def step_seconds(self) -> int:
        """The step, in whole seconds."""
        return int(self.step.total_seconds())

    @property
    def tolerance(self) -> timedelta:
        """How much of the prepaid time may be missing: a tenth of a step, as sessions judges it too."""
        return self.step / 10
