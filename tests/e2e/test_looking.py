"""What an operator asks of a running stack: what became of this, and is it well?"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from demo.waiting import until
from demo.world import Person, World
from devstack.follow import OTHER_NAMES
from devstack.settings import SERVICES
from devstack.stack import Stack
from notifier.domain.table import TABLE
from notifier.handlers.pushes import AUTHORIZED

ROSE = "livestream-gift_rose"


def devstack(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "DEVSTACK_DATA": str(stack.data)}
    command = (sys.executable, "-m", "devstack", *words)
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="session")
async def gift(world: World) -> Mapping[str, Any]:
    """A viewer gives the streamer a rose: the ids of all that it is about."""
    streamer, viewer = world.person("Cleo", "CREATOR"), world.person("Dan")
    await world.credit(viewer, 500)
    session_id = (await world.command(streamer, "POST", "/sessions", {"prices": {"sd": 5}})).json()["session_id"]
    rose = {"product_id": ROSE, "session_id": session_id, "count": 1}

    async def given() -> Any:
        return await world.request(viewer, "POST", "/gifts", rose, **{"x-request-id": f"rose-{session_id}"})

    answer = await until("the shop to know the session", given, lambda said: said.status_code == 202)
    gift_id = answer.json()["gift_id"]
    await _told(world, viewer, "gift.sent")
    return {"session": session_id, "gift": gift_id, "request": f"rose-{session_id}", "viewer": viewer.id}


async def _told(world: World, person: Person, what: str) -> None:
    async def names() -> list[str]:
        return [item["name"] for item in (await world.get(person, "/notifications"))["items"]]

    await until(f"{person.name} to be told {what}", names, lambda found: what in found)


@pytest.mark.parametrize("of", ["session", "gift", "request", "viewer"])
async def test_what_became_of_it_is_told_by_time_from_the_click_to_the_push(
    stack: Stack, gift: Mapping[str, Any], of: str
) -> None:
    def lines() -> list[str]:
        return devstack(stack, "follow", gift[of]).stdout.splitlines()

    async def told() -> list[str]:
        return lines()

    found = await until(f"the push of {of} to be in the log", told, lambda said: any("PUSH" in line for line in said))
    text = "\n".join(found)
    assert f"HTTP    {gift['viewer']}: POST /gifts  → 202 in " in text
    order = [text.index(what) for what in ("POST /gifts", "shop: gift.requested", "escrow: payment.succeeded")]
    assert order == sorted(order)
    assert "shop: gift.sent 1 gift_rose" in text
    assert f"diamonds  wallet:{gift['viewer']} → earnings:" in text
    assert "gift.sent 1 gift_rose  on " in text
    assert f"private-user@{gift['viewer']}" in text


async def test_of_what_nobody_knows_it_says_so(stack: Stack) -> None:
    told = devstack(stack, "follow", "f" * 24)

    assert (told.returncode, told.stdout) == (1, "")
    assert f"devstack: nothing is known of {'f' * 24} since " in told.stderr


async def test_the_events_are_shown_as_they_were_told(stack: Stack, gift: Mapping[str, Any]) -> None:
    words = ("tail", "--since", "1h", "--to-now", "--json", "--session", gift["session"], "--type", "gift.*")
    shown = devstack(stack, *words)

    types = [json.loads(line)["headers"]["ce_type"] for line in shown.stdout.splitlines()]
    assert types == ["gift.requested.v1", "gift.sent.v1"], shown.stderr


async def test_a_stack_that_is_well_is_found_so_and_one_that_is_not_says_what_to_do(stack: Stack) -> None:
    async def examined() -> subprocess.CompletedProcess[str]:
        return devstack(stack, "doctor")

    well = await until("the doctor to find nothing", examined, lambda told: told.returncode == 0, 60)
    for what in ("processes", "topics", "indexes", "work", "keys", "clocks", "ledger", "versions"):
        assert f"✓ {what}" in well.stdout
    assert "all accounts together are 0" in well.stdout
    assert "unknown" not in well.stdout
    assert f": {2 * len(SERVICES)} processes" in well.stdout
    assert "✗" not in well.stdout

    stack.stop_part("shop-worker")
    try:
        ill = await examined()
        assert ill.returncode == 1
        assert "→ look at `devstack logs shop-worker`" in ill.stdout
        assert "✗ versions   shop-worker: no answer" in ill.stdout
    finally:
        stack.start_part("shop-worker")


def test_every_push_of_the_notifiers_table_is_found_in_the_logs_by_its_name() -> None:
    named = {(row.event.TYPE.rpartition(".v")[0], row.push) for row in TABLE} | {("session.goal_added", AUTHORIZED)}

    assert [one for one in sorted(named) if one[1] not in OTHER_NAMES.get(one[0], (one[0],))] == []
