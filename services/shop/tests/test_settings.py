"""What the shop refuses to start with."""

from typing import Any

import pytest
from pydantic import ValidationError

from shop.settings import ShopSettings

LOCAL: dict[str, Any] = {
    "payment_gateways": ["sandbox"],
    "public_origin": "https://footlights.example",
    "checkout_state_key": "a-key-of-checkouts-of-at-least-32-bytes",
    "devstack": True,
}


def test_what_is_whole_is_taken() -> None:
    assert ShopSettings(**LOCAL).payment_gateways == {"sandbox"}
    assert ShopSettings().payment_gateways == frozenset()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"devstack": False}, "DEVSTACK=true"),
        ({"devstack": False, "payment_gateways": [], "checkout_state_key": "demo" * 8}, "DEVSTACK=true"),
        ({"checkout_state_key": "short"}, "32 bytes"),
        ({"public_origin": ""}, "PUBLIC_ORIGIN"),
        ({"public_origin": "https://footlights.example/path"}, "public_origin"),
        ({"public_origin": "javascript:alert(1)"}, "public_origin"),
    ],
)
def test_money_needs_an_address_and_a_key_and_play_money_a_local_stack(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ShopSettings(**LOCAL | changed)
