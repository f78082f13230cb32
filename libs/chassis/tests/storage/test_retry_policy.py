"""One rule for all kinds of work: how often it is tried again, and when it is parked."""

from datetime import timedelta

import pytest

from chassis.storage.batch import AbortedError
from chassis.storage.collection import UnreadableError
from chassis.storage.retry_policy import UNREADABLE_PATIENCE, RetryPolicy

POLICY = RetryPolicy(first_seconds=0.5, seconds_max=3.0, attempts_max=5)
A_BUG = ValueError("a bug")
STRANGE = UnreadableError("jars", "jar", ValueError("a newer one"))
NOW = timedelta()


def test_each_wait_is_twice_as_long_up_to_a_limit_and_then_it_is_parked() -> None:
    waits = [POLICY.wait(A_BUG, attempts, NOW) for attempts in range(1, 6)]

    assert waits == [*(timedelta(seconds=seconds) for seconds in (0.5, 1.0, 2.0, 3.0)), None]


def test_what_can_never_succeed_is_parked_at_once() -> None:
    assert POLICY.wait(AbortedError("again and again"), 1, NOW) is None


@pytest.mark.parametrize("attempts", [5, 50, 5_000])
def test_a_document_that_cannot_be_read_is_waited_for_as_long_as_a_release_may_take(attempts: int) -> None:
    early = UNREADABLE_PATIENCE - timedelta(seconds=1)

    assert POLICY.wait(STRANGE, attempts, early) == timedelta(seconds=3)
    assert POLICY.wait(STRANGE, attempts, UNREADABLE_PATIENCE) is None
    assert POLICY.wait(STRANGE, 1, UNREADABLE_PATIENCE) is not None
