"""What is true after every story."""

import pytest


@pytest.fixture(autouse=True)
def books(proven: None) -> None:
    """No story can forget it."""
