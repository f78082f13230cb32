"""What no goals service starts with."""

import pytest
from pydantic import ValidationError

from goals.settings import GoalsSettings


def test_who_begins_late_in_the_window_can_still_perform_what_was_paid_for() -> None:
    with pytest.raises(ValidationError, match=r"EXCLUSIVE_WINDOW_SECONDS \(60\) is above STEP_SECONDS \(2\)"):
        GoalsSettings(step_seconds=2)

    assert GoalsSettings(step_seconds=2, exclusive_window_seconds=2).timing.window.total_seconds() == 2
