"""Round trips of browsers: each asks the gateway once, and ends with how the payment stands (SPEC §8)."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from shop.domain.orders import Order

Outcome = Literal["paid", "confirming", "unpaid", "late", "refused", "expired", "review", "refunded"]
"""What came of an order, for who comes back: `unpaid` may still be paid, `late` not any more unless it has been ·
`refused` by payer or gateway, `expired` without a payment · `refunded`, whoever asked for it · the others as `Payment`
has them."""


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


def outcome(order: Order, now: datetime) -> Outcome:
    """What came of an order so far."""
    match order.payment:
        case "open" | "pending":
            return "unpaid" if now < order.exp else "late"
        case "failed":
            return "refused" if order.failed_at and order.failed_at < order.exp else "expired"
        case "refunded" | "charged_back":
            return "refunded"
        case other:
            return other
