"""Words of an open set: any short one is read and carried, so that a new one is no break."""

from typing import Any, Literal

import pytest
from pydantic import TypeAdapter, ValidationError

from contracts import GoalLapsedV1
from contracts.compatibility import incompatibilities
from contracts.escrow_ids import make_escrow_id, parse_escrow_id
from contracts.products import GIFT_PRODUCT_IDS, TICKET_PRODUCT_IDS
from contracts.schemas import schema_of
from contracts.values import EscrowId, LegibleTitle, Open, ProductId

ONE: TypeAdapter[Any] = TypeAdapter(Open[Literal["kept"]])
TWO: TypeAdapter[Any] = TypeAdapter(Open[Literal["kept", "expired"]])
ID = "0123456789abcdef01234567"


def test_a_word_of_tomorrow_is_carried() -> None:
    told = {"goal_id": ID, "session_id": ID, "streamer_id": ID, "kind": "ChoirGoal", "reason": "thunder"}

    event = GoalLapsedV1.model_validate(told)

    assert event.model_dump(mode="json") == told


@pytest.mark.parametrize("word", ["", "x" * 65, 1, None, True, ["kept"]])
def test_what_is_no_word_is_refused(word: object) -> None:
    with pytest.raises(ValidationError):
        ONE.validate_python(word)


def test_a_new_known_word_is_no_break_and_stands_in_the_schema() -> None:
    assert incompatibilities(ONE.json_schema(), TWO.json_schema()) == []
    assert TWO.json_schema()["x-known-values"] == ["kept", "expired"]
    assert "given_up" in schema_of(GoalLapsedV1)["properties"]["reason"]["x-known-values"]


@pytest.mark.parametrize("kind", ["show_funding", "trigger_exclusive", "trigger_private"])
def test_an_escrow_id_is_read_back_as_it_was_made(kind: Any) -> None:
    escrow_id = TypeAdapter(EscrowId).validate_python(make_escrow_id(kind, ID))

    assert parse_escrow_id(escrow_id) == (kind, ID)


def test_products_are_products_and_tickets_are_gifts() -> None:
    assert TICKET_PRODUCT_IDS < GIFT_PRODUCT_IDS
    for product_id in GIFT_PRODUCT_IDS:
        TypeAdapter(ProductId).validate_python(product_id)


@pytest.mark.parametrize("title", ["A song", "歌", "نمی‌خواهم", "👨‍👩‍👧 live", "❤️", "é", "I \u2800 am"])
def test_a_title_that_can_be_read_is_taken_as_it_is(title: str) -> None:
    assert TypeAdapter(LegibleTitle).validate_python(title) == title


@pytest.mark.parametrize(
    "title",
    [
        *("", " ", "\u3000\u00a0", "\u200b\u200d", "\ufeff", "\u2800\u3164", "\u0301", "x" * 101),  # nothing is seen
        *("a\nb", "a\x07b", "a\x1b[31mb", "a\x85b", "a\u2028b"),  # controls, line ends
        *("a\u202eb", "\u2066a\u2069", "a\u200fb"),  # directions
        *("a\u200bb", "a\u2060b", "\u200da", "a\u200d"),  # zero-width
    ],
)
def test_a_title_that_shows_nothing_or_changes_what_is_around_it_is_refused(title: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(LegibleTitle).validate_python(title)
