"""What an operator asks of a running stack: what became of this, and is it well? On escrow alone."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import pytest

from contracts_cli.reading import Told
from devstack.calling import call
from devstack.follow import OTHER_NAMES, Found
from devstack.stack import Stack
from notifier.domain.channels import Channel
from notifier.domain.pushes import PushCause
from notifier.domain.table import TABLE
from notifier.handlers.pushes import AUTHORIZED

ONLY = ("mongod", "kafka", "nginx", "escrow-api", "escrow-worker")
OPERATOR, USER = "0" * 24, "a" * 24
SECONDS = 90


@pytest.fixture(scope="module")
def escrow(tmp_path_factory: pytest.TempPathFactory, plain_environ: Mapping[str, str]) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("escrow"), only=ONLY, environ={**plain_environ, "RELEASE": "today"}) as stack:
        body = json.dumps({"amount_diamonds": 70})
        said = call(stack.data, "nginx", OPERATOR, ("OPS",), ("POST", f"/wallets/{USER}/credit", body))
        assert said.startswith("201"), said
        yield stack


@pytest.fixture
def asked(
    escrow: Stack, devstack: Callable[..., subprocess.CompletedProcess[str]]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line for the stack: the exit status, and what it said."""

    def ask(*words: str) -> tuple[int, str, str]:
        done = devstack(*words, DEVSTACK_DATA=str(escrow.data))
        return done.returncode, done.stdout, done.stderr

    return ask


def until(asked: Callable[[], tuple[int, str, str]], good: Callable[[int, str], bool]) -> str:
    deadline = time.monotonic() + SECONDS
    while True:
        status, said, errors = asked()
        if good(status, said):
            return said
        assert time.monotonic() < deadline, said + errors


def test_what_became_of_a_user_is_told_by_time_from_the_click_to_the_ledger(
    asked: Callable[..., tuple[int, str, str]],
) -> None:
    told = until(lambda: asked("follow", USER), lambda _, said: "wallet.credited" in said and "LEDGER" in said)

    assert f"HTTP    {OPERATOR}: POST /wallets/{USER}/credit  → 201 in " in told
    assert "KAFKA   escrow: wallet.credited 70 diamonds" in told
    assert "LEDGER  " in told
    assert f" → wallet:{USER}" in told


def test_of_what_nobody_knows_it_says_so(asked: Callable[..., tuple[int, str, str]]) -> None:
    status, told, errors = asked("follow", "f" * 24)

    assert (status, told) == (1, "")
    assert f"devstack: nothing is known of {'f' * 24} since " in errors
    assert asked("follow", USER, "--since", "yesterday")[0] == 1


def test_the_events_are_shown_as_they_were_told(asked: Callable[..., tuple[int, str, str]]) -> None:
    def shown() -> tuple[int, str, str]:
        return asked("tail", "--since", "1h", "--to-now", "--json", "--type", "wallet.credited.*")

    told = until(shown, lambda status, said: status == 0 and bool(said))
    assert [json.loads(line)["data"]["user_id"] for line in told.splitlines()] == [USER]


def test_a_stack_that_is_well_is_found_so_and_one_that_is_not_says_what_to_do(
    escrow: Stack, asked: Callable[..., tuple[int, str, str]]
) -> None:
    well = until(lambda: asked("doctor"), lambda status, _: status == 0)
    for what in ("processes", "topics", "indexes", "work", "keys", "clocks", "ledger", "versions"):
        assert f"✓ {what}" in well
    assert "all accounts together are 0" in well
    assert "today: 2 processes" in well
    assert "✗" not in well

    escrow.stop_part("escrow-worker")
    try:
        status, ill, _ = asked("doctor")
        assert status == 1
        assert "→ look at `devstack logs escrow-worker`" in ill
        assert "escrow-worker: no answer" in ill
    finally:
        escrow.start_part("escrow-worker")


def test_every_push_of_the_notifiers_table_is_found_in_the_logs_by_its_name() -> None:
    named = {(row.event.TYPE.rpartition(".v")[0], row.push) for row in TABLE} | {("session.goal_added", AUTHORIZED)}

    assert [one for one in sorted(named) if one[1] not in OTHER_NAMES.get(one[0], (one[0],))] == []


def test_a_push_is_known_by_the_event_that_it_tells_of() -> None:
    told = Told("goals", 0, 0, 0, "k", {"ce_id": "e" * 24, "ce_type": "goal.ended.v1"}, {})
    channel = Channel("private-user", USER)
    cause = PushCause("e" * 24, datetime.now(UTC), datetime.now(UTC))

    known = Found("x", (told,)).pushes(channel.name)

    assert known == {cause.copy_id(name, channel): (name, told) for name in ("goal.ended", "exclusive.closed")}
