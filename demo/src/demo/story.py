"""One story: what happens in it, and who plays it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from demo.scene import Scene

DIAMONDS: Final = 200  # in the wallet of who invites
PURSE: Final = 1_000  # in the wallet of who buys tickets and gives


@dataclass(frozen=True, slots=True)
class Story:
    """One ending, and who plays it."""

    title: str
    play: Callable[[Scene], Awaitable[None]]
    streamer: str
    viewer: str
    diamonds: int = DIAMONDS
    friend: str | None = None
    """A second viewer, who begins with as many diamonds."""
    max_seconds: int | None = None
    """When the session ends by itself; not while anybody plays, if not given."""
    pays: bool = False
    """Whether money is paid in it: that takes a payment gateway."""
