"""The version in an event's type: read in one place, from any string."""

import pytest

from contracts import REGISTRY
from contracts.versions import parse_type


def test_every_event_has_a_name_and_a_version() -> None:
    for type_, event in REGISTRY.items():
        name, version = parse_type(type_)
        assert f"{name}.v{version}" == type_
        assert event.__name__.endswith(f"V{version}")


@pytest.mark.parametrize(
    ("type_", "parsed"),
    [
        ("goal.ended.v12", ("goal.ended", 12)),
        ("goal.ended", ("", 0)),
        ("goal.ended.vx", ("goal.ended", 0)),
        ("goal.ended.v0", ("goal.ended", 0)),
        ("goal.ended.v1\n", ("goal.ended", 0)),
        ("goal.ended.v100000", ("goal.ended", 0)),
        ("a.v1.v2", ("a.v1", 2)),
        ("", ("", 0)),
    ],
)
def test_what_is_no_version_has_the_number_0(type_: str, parsed: tuple[str, int]) -> None:
    assert parse_type(type_) == parsed
