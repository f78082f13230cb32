"""soketi keeps to Pusher's limits: what passes here must pass there."""

import asyncio
import json
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pusher
import pytest
from pusher.errors import PusherError

from devstack import parts
from devstack.errors import StackError
from devstack.pusher_client import PusherClient
from devstack.stack import Stack
from devstack.triggering import PAGE, pushes

DEVSTACK = Path(sys.executable).with_name("devstack")
WAIT_SECONDS = 60.0
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


@pytest.mark.parametrize("name", re.findall(r"^## (\S+)$", PAGE.read_text(), re.MULTILINE))
async def test_any_push_can_be_had_without_what_leads_to_it(stack: Stack, client: pusher.Pusher, name: str) -> None:
    user, streamer = secrets.token_hex(12), secrets.token_hex(12)
    wanted = pushes(PAGE.read_text(), name, user, streamer)
    assert wanted
    async with PusherClient(parts.pusher(stack.settings)) as listening:
        for push in wanted:
            data = {"user_id": user} if push.channel.startswith("presence-") else None
            await listening.subscribe(push.channel, client.authenticate(push.channel, listening.socket_id, data))

        command = ("trigger", name, "--user", user, "--stream", streamer, "--data", str(stack.data))
        said = await asyncio.to_thread(subprocess.run, (DEVSTACK, *command), capture_output=True, text=True, check=True)

        deadline = time.monotonic() + WAIT_SECONDS
        while len(listening.heard) < len(wanted) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
    assert {(one.channel, one.name) for one in listening.heard} == {(push.channel, name) for push in wanted}
    assert [one.data for one in listening.heard] == [push.data for push in wanted]
    assert len(said.stdout.splitlines()) == len(wanted)
    assert {user, streamer} >= {id_ for push in wanted for id_ in re.findall("[0-9a-f]{24}", push.channel)}


def test_a_push_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(StackError, match=r"no push 'gift\.lost'; there are: .*gift\.failed"):
        pushes(PAGE.read_text(), "gift.lost", "5" * 24, "7" * 24)


def test_who_does_not_sign_in_may_stay_for_as_long_as_a_token_lives(stack: Stack) -> None:
    config = json.loads((stack.settings.data / "soketi" / "config.json").read_text())

    assert config["userAuthenticationTimeout"] >= TOKEN_MILLISECONDS
