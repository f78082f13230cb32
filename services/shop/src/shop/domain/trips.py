"""Round trips of browsers: each asks the gateway once (SPEC §8)."""

from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One way to the gateway and back, until `exp`; `used` once it has come back."""

    id: str
    order_id: str
    exp: datetime
    used: bool = False

    def over(self) -> "RoundTrip":
        """It has come back."""
        return replace(self, used=True)
