"""The way out to vendors: each client is one of its process, and ends with it."""

from chassis.clock import SystemClock
from chassis.context import Outside
from chassis.effects.vendor_client import VendorClient


class Line:
    """A vendor's own client."""

    def __init__(self, outside: Outside) -> None:
        self.clock = outside.clock
        self.closed = False

    async def close(self) -> None:
        self.closed = True


async def test_a_vendors_own_client_is_made_once_and_closed_with_the_process() -> None:
    outside, other = (Outside({}, VendorClient(), SystemClock()) for _ in range(2))
    line = outside.client(Line, Line)

    assert outside.client(Line, Line) is line
    assert other.client(Line, Line) is not line
    await outside.close()

    assert line.closed
    assert line.clock is outside.clock
