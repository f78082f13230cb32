"""Demo secrets and plain HTTP stay on local stacks."""

from typing import Any

import pytest
from pydantic import ValidationError

from notifier.settings import Settings


def made(**changes: Any) -> Settings:
    given: dict[str, Any] = {"pusher_host": "pusher.test", "pusher_port": 443, "pusher_app_id": "1001"}
    given |= {"pusher_client_host": "ws.pusher.test"}
    return Settings(**given | {"pusher_keys": {"key": "hush"}} | changes)


def test_the_first_key_signs() -> None:
    settings = made(pusher_keys={"new": "one", "old": "other"})

    assert settings.signing_key == ("new", "one")


@pytest.mark.parametrize("name", ["demo-key", "prod"])
def test_a_demo_secret_is_refused_outside_the_devstack_wherever_it_stands(name: str) -> None:
    keys = {"real": "secret", name: "demo-secret-of-the-devstack"}

    with pytest.raises(ValidationError, match="DEVSTACK"):
        made(pusher_keys=keys, devstack=False)
    assert made(pusher_keys=keys, devstack=True).pusher_keys.keys() == keys.keys()


def test_plain_http_is_for_local_stacks() -> None:
    with pytest.raises(ValidationError, match="PUSHER_SCHEME"):
        made(pusher_scheme="http")
    assert made().pusher_scheme == "https"
    assert made(pusher_scheme="http", devstack=True).pusher_scheme == "http"


@pytest.mark.parametrize(
    "wrong",
    [
        {"pusher_app_id": "app"},
        {"pusher_keys": {}},
        {"pusher_keys": {"key": ""}},
        {"pusher_keys": {"": "hush"}},
        {"pusher_port": 0},
        {"pusher_client_host": "wss://ws.pusher.test"},
        {"pusher_client_port": 65_536},
        {"step_seconds": 0},
    ],
)
def test_what_cannot_work_is_refused_at_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(**wrong)


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(made())
