"""Assume, then prove: after an attempt that went well, the next one reads nothing that this process knows.

It takes for granted that positions are as this process left them and that no event came before. Writing proves it: a
position that somebody else has written since is stale, an event that came before is a duplicate in the inbox. Then the
attempt is dropped, and the next one looks. Reading alone would prove nothing, so what writes nothing has to look.
"""

from typing import Any

from chassis.storage.collection import Collection
from chassis.storage.errors import StaleDocumentError, is_duplicate
from chassis.storage.mongo import PyMongoError
from chassis.storage.tx import Tx


class StaleAssumptionError(Exception):
    """Something was not as assumed: an event that came before, or another hand on a position. Look."""


class Assumptions:
    """Whether an attempt takes things for granted: only after one that was committed, and only once for each."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.hold = False
        """Whether the attempt under way assumes."""
        self._trusted = False

    def begin(self, *, known: bool) -> bool:
        """An attempt begins, of which everything is `known` or not; returns whether it assumes."""
        self.hold = self._trusted and known
        self._trusted = False
        return self.hold

    def committed(self) -> None:
        """The attempt went well: what it wrote is what there is."""
        self._trusted = True

    async def prove(self, tx: Tx, *collections: Collection[Any]) -> None:
        """See, by writing `collections` now, that all is as assumed.

        Raises:
            StaleAssumptionError: it is not so.
        """
        if not self.hold:
            return
        try:
            await tx.flush(*collections)
        except PyMongoError as error:
            if is_duplicate(error) or isinstance(error, StaleDocumentError):
                raise StaleAssumptionError from error
            raise
