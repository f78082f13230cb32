"""How often what has failed is tried again by itself, and when it is left to an operator: one rule for all work.

What can never succeed is parked at once. What comes too early (`NotYet`) has not failed, and is not asked about here.
"""

from dataclasses import dataclass
from datetime import timedelta

from chassis.storage.batch import AbortedError
from chassis.storage.collection import UnreadableError

UNREADABLE_PATIENCE = timedelta(minutes=15)  # a release rolls out meanwhile, and with it comes who can read it


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Of one kind of work."""

    first_seconds: float
    """The first wait; each is twice as long as the one before."""
    seconds_max: float
    attempts_max: int
    non_retryable: tuple[type[Exception], ...] = (AbortedError,)
    """What trying again can never mend."""

    def wait(self, failure: Exception, attempts: int, waited: timedelta) -> timedelta | None:
        """How long to wait after so many failed `attempts` and so long; None when it is to be parked.

        A document that cannot be read is waited for, however many attempts that takes.
        """
        if isinstance(failure, self.non_retryable):
            return None
        patient = isinstance(failure, UnreadableError) and waited < UNREADABLE_PATIENCE
        if attempts >= self.attempts_max and not patient:
            return None
        return timedelta(seconds=min(self.seconds_max, self.first_seconds * 2 ** min(attempts - 1, 20)))
