"""The lengths of time that decisions about gifts depend on (SPEC §11)."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """All of them, as the service was started with."""

    proposal: timedelta
    """A gift waits this long for its money."""
    session_max: timedelta
    """A session is over after this long, whether or not anybody said so."""
