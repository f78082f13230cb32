"""Fault points: nothing unless planned, then exactly as planned, and leaving a trace."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from chassis.runtime.faults import FaultError, fault_point, plan_faults

POINT = "relay.after_publish"
THREE_PASSES = f"""
import os
from chassis.runtime.faults import fault_point, plan_faults
plan_faults(os.environ["FAULT_PLAN"])
for _ in range(3): fault_point({POINT!r})
print("done")
"""


@pytest.fixture(autouse=True)
def _no_plan_afterwards() -> Iterator[None]:
    yield
    plan_faults(None)


def passes(count: int) -> list[bool]:
    """Pass the point so many times; whether it was hit, each time."""
    hits = []
    for _ in range(count):
        try:
            fault_point(POINT)
        except FaultError:
            hits.append(True)
        else:
            hits.append(False)
    return hits


def run(plan: dict[str, object]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", THREE_PASSES],
        env={"FAULT_PLAN": json.dumps({POINT: plan})},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_without_a_plan_nothing_happens() -> None:
    assert passes(3) == [False, False, False]


def test_a_plan_for_one_point_leaves_the_others_alone() -> None:
    plan_faults('{"timers.in_run": {"action": "raise"}}')
    assert passes(3) == [False, False, False]


def test_a_fault_is_taken_at_its_nth_pass_and_so_many_times(tmp_path: Path) -> None:
    plan_faults(json.dumps({POINT: {"action": "raise", "nth": 2, "times": 2}}))
    assert passes(5) == [False, True, True, False, False]

    log = tmp_path / "hits"
    plan_faults(json.dumps({POINT: {"action": "raise", "nth": 2, "log": str(log)}}))
    assert passes(4) == [False, True, False, False]
    assert log.read_text() == f"{POINT}\n"


def test_a_fault_waits_for_what_it_is_to_come_with() -> None:
    plan_faults(json.dumps({POINT: {"action": "raise", "nth": 2, "of": "goal.proposed.v1"}}))

    for others in ((), ("presence.counted.v1",), ("presence.counted.v1", "goal.proposed.v1"), ("goal.ended.v1",)):
        fault_point(POINT, others)
    with pytest.raises(FaultError):
        fault_point(POINT, iter(["goal.proposed.v1"]))


def test_what_a_point_comes_with_is_looked_at_only_for_a_plan() -> None:
    plan_faults(json.dumps({POINT: {"action": "raise", "nth": 2}}))
    names = iter(["goal.proposed.v1"])

    fault_point(POINT, names)

    assert list(names) == ["goal.proposed.v1"]


def test_a_killed_process_leaves_a_trace_and_its_successor_lives(tmp_path: Path) -> None:
    log = tmp_path / "hits"
    plan: dict[str, object] = {"action": "kill", "nth": 2, "log": str(log)}
    first, second = run(plan), None
    assert (first.communicate(timeout=30)[0], first.returncode) == ("", -9)
    second = run(plan)
    assert (second.communicate(timeout=30)[0], second.returncode) == ("done\n", 0)
    assert log.read_text() == f"{POINT}\n"


def test_a_stopped_process_goes_on_when_told_to() -> None:
    process = run({"action": "stop"})
    until = time.monotonic() + 30
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < until
        time.sleep(0.01)
    psutil.Process(process.pid).resume()
    assert (process.communicate(timeout=30)[0], process.returncode) == ("done\n", 0)


def test_a_delay_blocks_the_process() -> None:
    plan_faults(json.dumps({POINT: {"action": {"delay": 0.2}}}))
    began = time.monotonic()
    assert passes(2) == [False, False]
    assert 0.2 <= time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ('{"no.such_point": {"action": "kill"}}', "names no.such_point; there are"),
        ('{"relay.after_publish": {"action": "explode"}}', "asks for 'explode'"),
        ("kill", "Expecting value"),
        ('{"edge.after_commit": {"action": "kill", "of": "goal.proposed.v1"}}', "an `of` at edge.after_commit"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(plan: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        plan_faults(plan)
