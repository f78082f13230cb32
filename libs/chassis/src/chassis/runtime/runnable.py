"""What a process, or its leader, does for as long as it lives."""

from typing import Protocol


class Runnable(Protocol):
    """Something that runs until it is stopped."""

    async def run(self) -> None:
        """Work until `stop`, then finish what is in hand and return."""

    def stop(self) -> None:
        """Take nothing new."""
