"""How many works go into one transaction: as many as do not make others wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.storage.batch import BATCH_MAX, LONG_SECONDS, LONG_SIZE_MIN, SLOW_SECONDS, next_size


@given(each=st.floats(0.000_1, LONG_SECONDS / LONG_SIZE_MIN), fixed=st.floats(0.001, LONG_SECONDS / 2))
def test_after_a_few_batches_none_is_slow_and_none_much_smaller_than_it_could_be(each: float, fixed: float) -> None:
    size, took = BATCH_MAX, []
    for _ in range(40):
        took.append((size, fixed + size * each))
        size = next_size(size, *took[-1], BATCH_MAX)

    settled = took[5:]
    assert all(seconds <= SLOW_SECONDS for _, seconds in settled)
    assert all(
        size >= min(BATCH_MAX, LONG_SIZE_MIN) and (size == BATCH_MAX or seconds > LONG_SECONDS / 8)
        for size, seconds in settled
    )


@pytest.mark.parametrize("size", [BATCH_MAX, 1])
def test_what_takes_long_whatever_its_number_is_not_cut_to_pieces(size: int) -> None:
    for _ in range(20):
        size = next_size(size, size, (LONG_SECONDS + SLOW_SECONDS) / 2, BATCH_MAX)

    assert LONG_SIZE_MIN <= size <= 2 * LONG_SIZE_MIN


def test_what_is_slow_goes_alone_in_the_end() -> None:
    size = BATCH_MAX
    for _ in range(20):
        size = next_size(size, size, SLOW_SECONDS * 2, BATCH_MAX)

    assert size == 1


def test_a_batch_that_was_not_full_takes_no_place_away() -> None:
    assert next_size(400, 3, 0.01, BATCH_MAX) == BATCH_MAX
    assert next_size(400, 30, LONG_SECONDS * 0.9, BATCH_MAX) == 400
