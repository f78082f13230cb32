"""Every field of every schema says what it means, and no sentence is left over."""

import pytest

from contracts import REGISTRY
from contracts.descriptions import MEANINGS, properties, undescribed
from contracts.schemas import all_schemas, main, schema_of

SCHEMAS = all_schemas()


def test_every_field_of_an_event_and_of_its_parts_has_a_meaning() -> None:
    assert undescribed(SCHEMAS.values()) == []


def test_every_sentence_is_the_meaning_of_some_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contracts.descriptions.MEANINGS", {key: key for key in MEANINGS})

    told = {field["description"] for event in REGISTRY.values() for _, _, field in properties(schema_of(event))}

    assert MEANINGS.keys() - told == set()


def test_a_field_without_a_meaning_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(MEANINGS, "Metadata.user_id")
    monkeypatch.delitem(MEANINGS, "user_id")

    assert main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "add a sentence for each to contracts/descriptions.py:" in said
    assert "  Metadata.user_id\n" in said
    assert "  OrderPaidV1.user_id\n" in said
    assert "GoalRejectedV1" not in said


def test_the_most_particular_sentence_is_taken() -> None:
    def said(type_: str, name: str) -> str:
        return str(SCHEMAS[type_]["properties"][name]["description"])

    assert said("goal.rejected.v1", "user_id") == MEANINGS["GoalRejectedV1.user_id"]
    assert said("gift.sent.v1", "exclusive_to") == MEANINGS["GiftEvent.exclusive_to"]
    assert said("order.paid.v1", "user_id") == MEANINGS["user_id"]
