"""Demo keys stay on local stacks."""

from typing import Any

import pytest
from pydantic import ValidationError

from notifier.settings import Settings


def made(**changes: Any) -> Settings:
    given: dict[str, Any] = {"pusher_host": "pusher.test", "pusher_port": 443, "pusher_app_id": "1001"}
    return Settings(**given | {"pusher_keys": {"key": "hush"}} | changes)


def test_the_first_key_signs() -> None:
    settings = made(pusher_keys={"new": "one", "old": "other"})

    assert settings.signing_key == ("new", "one")


def test_a_demo_key_is_refused_outside_the_devstack_wherever_it_stands() -> None:
    keys = {"real": "secret", "demo-key": "demo-secret"}

    with pytest.raises(ValidationError, match="DEVSTACK"):
        made(pusher_keys=keys, devstack=False)
    assert made(pusher_keys=keys, devstack=True).pusher_keys.keys() == keys.keys()


@pytest.mark.parametrize("wrong", [{"pusher_app_id": "app"}, {"pusher_keys": {}}, {"pusher_port": 0}])
def test_what_cannot_work_is_refused_at_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(**wrong)


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(made())
