"""The one clock of a process: the machine's, or a local stack's, which says that it can be moved."""

import sys
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from chassis.clock import MovedClock, SystemClock
from chassis.runtime.cli import clock_of
from chassis.runtime.settings import ChassisSettings


def settings(file: Path | None) -> ChassisSettings:
    return ChassisSettings.model_validate(
        {"mongo_url": "mongodb://mongo", "devstack": file is not None, "clock_ahead_file": file}
    )


def test_it_is_the_machines_where_nothing_else_is_said() -> None:
    with capture_logs() as said:
        clock = clock_of(settings(None), aloud=True)

    assert type(clock) is SystemClock
    assert said == []


def test_a_local_stacks_is_told_in_the_log_and_measured(tmp_path: Path) -> None:
    file = tmp_path / "clock-ahead"
    file.write_bytes((3_600 * 1_000_000).to_bytes(8, sys.byteorder))

    with capture_logs() as said:
        clock = clock_of(settings(file), aloud=True)

    assert isinstance(clock, MovedClock)
    assert [(line["log_level"], line["ahead_seconds"]) for line in said] == [("warning", 3_600)]
    assert REGISTRY.get_sample_value("clock_moved_seconds") == 3_600


def test_commands_follow_it_without_a_word(tmp_path: Path) -> None:
    file = tmp_path / "clock-ahead"
    file.write_bytes(bytes(8))

    with capture_logs() as said:
        assert isinstance(clock_of(settings(file), aloud=False), MovedClock)

    assert said == []


@pytest.mark.parametrize("content", [None, b"", b"1234567"])
def test_one_that_cannot_be_followed_ends_the_process(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "clock-ahead"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SystemExit, match="CLOCK_AHEAD_FILE cannot be followed"):
        clock_of(settings(file), aloud=True)
