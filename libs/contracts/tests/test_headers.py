"""The schema of the headers is what the envelope writes and reads."""

import json
from pathlib import Path

import jsonschema_rs
import pytest

from contracts import Undecodable, attributes_of
from contracts.envelope import HEADERS
from contracts.headers import headers_schema

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))
SCHEMA = headers_schema()


def headers() -> dict[str, str]:
    read: dict[str, str] = json.loads(RECORDED[0].read_text())["headers"]
    return read


def test_it_describes_every_header_that_is_ours() -> None:
    assert SCHEMA["properties"].keys() == HEADERS
    assert all(said["description"] for said in SCHEMA["properties"].values())


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_headers_are_valid(path: Path) -> None:
    jsonschema_rs.validator_for(SCHEMA, validate_formats=True).validate(json.loads(path.read_text())["headers"])


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_what_is_required_is_what_cannot_be_missed(name: str) -> None:
    rest = [(one, value.encode()) for one, value in headers().items() if one != name]

    if name in SCHEMA["required"]:
        with pytest.raises(Undecodable, match=f"{name} is missing"):
            attributes_of(rest)
    else:
        attributes_of(rest)
