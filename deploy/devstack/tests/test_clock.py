"""The clock of a stack: moved for all who follow it at once, forward only; the stack signs and checks by it."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chassis.clock import MovedClock
from devstack import clock, services
from devstack.arguments import parser
from devstack.errors import StackError
from devstack.sandbox import Sandbox
from devstack.settings import Settings
from devstack.tokens import access_token, of_stack

HOUR, MICROS = 3_600, 1_000_000
USER = "0123456789abcdef01234567"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Of a stack whose clock nobody has moved yet."""
    clock.reset(tmp_path)
    return tmp_path


@pytest.fixture
def services_clock(data: Path) -> MovedClock:
    """As a service of the stack has it."""
    environ = services.environment(Settings(data, 20_000), "goals")
    return MovedClock(Path(environ["CLOCK_AHEAD_FILE"]))


def test_it_is_the_machines_until_it_is_moved(data: Path, services_clock: MovedClock) -> None:
    assert services_clock.micros() - services_clock.machine_micros() == pytest.approx(0, abs=MICROS)
    assert clock.ahead_seconds(clock.with_clock({}, data)) == 0


def test_it_moves_at_once_for_who_follows_it_already(data: Path, services_clock: MovedClock) -> None:
    measured = services_clock.monotonic()

    assert clock.advance(data, 61 * 60) == 61 * 60

    assert services_clock.micros() - services_clock.machine_micros() == pytest.approx(61 * 60 * MICROS, abs=MICROS)
    assert clock.now(clock.with_clock({}, data)) == pytest.approx(time.time() + 61 * 60, abs=60)
    assert services_clock.monotonic() - measured < HOUR


def test_moves_add_up_also_those_made_at_once(data: Path, services_clock: MovedClock) -> None:
    with ThreadPoolExecutor(8) as many:
        list(many.map(lambda _: clock.advance(data, 5), range(40)))

    assert services_clock.ahead_micros == 200 * MICROS


@pytest.mark.parametrize("seconds", [-1, 367 * 86_400])
def test_it_goes_forward_only_and_not_beyond_a_year(data: Path, seconds: float) -> None:
    clock.advance(data, HOUR)

    with pytest.raises(StackError, match="forward only"):
        clock.advance(data, seconds)

    assert clock.ahead_seconds(clock.with_clock({}, data)) == HOUR


def test_a_stack_that_begins_anew_has_the_machines(data: Path, services_clock: MovedClock) -> None:
    clock.advance(data, HOUR)

    clock.reset(data)

    assert services_clock.ahead_micros == 0


def test_tokens_are_valid_by_it(data: Path) -> None:
    before = time.time()
    clock.advance(data, HOUR)

    token = access_token(USER, (), of_stack({}, data), 60)

    claims = json.loads(base64.urlsafe_b64decode(f"{token.split('.')[1]}=="))
    assert claims["iat"] == claims["nbf"] == claims["exp"] - 60
    assert before + HOUR - 1 <= claims["nbf"] <= time.time() + HOUR


def test_a_payment_at_the_sandbox_ends_by_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(clock.VARIABLE, str(clock.file_of(data)))
    sandbox, exp = Sandbox(), time.time() + HOUR / 2
    order = {"order_id": "1" * 24, "amount": 1, "currency": "TWD", "return_url": "http://shop", "exp": exp}
    sandbox.authorize(order)
    before = sandbox.confirm(order)

    clock.advance(data, HOUR)

    after = sandbox.confirm(order)
    assert before is not None
    assert after is not None
    assert (before["status"], after["status"]) == ("open", "cancelled")


@pytest.mark.parametrize(("typed", "seconds"), [("+30s", 30), ("+5m", 300), ("+2h", 7_200), ("+1d", 86_400)])
def test_times_are_typed_with_their_unit(typed: str, seconds: int) -> None:
    assert parser().parse_args(["clock", typed]).by == seconds


@pytest.mark.parametrize("typed", ["-5m", "5m", "+5", "+-5m", "+1.5h", "+m", "now", ""])
def test_no_other_time_is_taken(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["clock", typed])

    assert "usage: devstack" in capsys.readouterr().err
