"""soketi keeps to Pusher's limits: what passes here must pass there."""

import json

import pusher
import pytest
from pusher.errors import PusherError

from devstack import parts
from devstack.stack import Stack

TOKEN_MILLISECONDS = 86_400_000  # the longest life of an access token, by default


@pytest.fixture
def client(stack: Stack) -> pusher.Pusher:
    told = parts.pusher(stack.settings)
    return pusher.Pusher(told["app_id"], told["key"], told["secret"], ssl=False, host=told["host"], port=told["port"])


def test_it_takes_what_the_app_signs(client: pusher.Pusher) -> None:
    client.trigger("private-stream@0123456789abcdef01234567", "goal.added", {"seq": 1})


def test_it_refuses_another_secret(stack: Stack) -> None:
    told = parts.pusher(stack.settings)
    stranger = pusher.Pusher(told["app_id"], told["key"], "another", ssl=False, host=told["host"], port=told["port"])

    with pytest.raises(PusherError):
        stranger.trigger("private-user@x", "goal.added", {"seq": 1})


def test_it_refuses_more_than_10_kb_with_pushers_status(client: pusher.Pusher) -> None:
    client.trigger("private-user@x", "goal.added", "x" * 10_000)

    with pytest.raises(PusherError, match="413"):
        client.trigger("private-user@x", "goal.added", "x" * 10_300)


def test_who_does_not_sign_in_may_stay_for_as_long_as_a_token_lives(stack: Stack) -> None:
    config = json.loads((stack.settings.data / "soketi" / "config.json").read_text())

    assert config["userAuthenticationTimeout"] >= TOKEN_MILLISECONDS
