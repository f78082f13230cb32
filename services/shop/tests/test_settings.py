"""What the shop refuses to start with."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from chassis import ids
from chassis_testing.service import START_TIME
from shop.gateway import states
from shop.gateway.states import State, StateInvalid
from shop.settings import ShopSettings

LOCAL: dict[str, Any] = {
    "payment_gateways": ["sandbox"],
    "public_origin": "https://footlights.example",
    "checkout_state_key": "a-key-of-checkouts-of-at-least-32-bytes",
    "devstack": True,
}


OLD, NEW = "the-key-that-was-of-at-least-32-bytes", "the-key-that-comes-of-at-least-32-bytes"


def test_what_is_whole_is_taken() -> None:
    assert ShopSettings(**LOCAL).payment_gateways == {"sandbox"}
    assert ShopSettings().payment_gateways == frozenset()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"devstack": False}, "DEVSTACK=true"),
        ({"devstack": False, "payment_gateways": [], "checkout_state_key": "demo" * 8}, "DEVSTACK=true"),
        ({"checkout_state_key": "short"}, "32 bytes"),
        ({"checkout_state_other_keys": ["a-key-that-is-taken-too-of-32-bytes", "short"]}, "32 bytes"),
        (
            {"devstack": False, "payment_gateways": [], "checkout_state_other_keys": ["demo" * 8]},
            "DEVSTACK=true",
        ),
        ({"public_origin": ""}, "PUBLIC_ORIGIN"),
        ({"public_origin": "https://footlights.example/path"}, "public_origin"),
        ({"public_origin": "javascript:alert(1)"}, "public_origin"),
    ],
)
def test_money_needs_an_address_and_a_key_and_play_money_a_local_stack(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ShopSettings(**LOCAL | changed)


def test_while_the_key_of_checkouts_is_changed_nobody_who_is_paying_is_forgotten() -> None:
    steps = [
        ShopSettings(**LOCAL | {"checkout_state_key": key, "checkout_state_other_keys": others})
        for key, others in ((OLD, []), (OLD, [NEW]), (NEW, [OLD]), (NEW, []))
    ]
    state, exp = State(ids.new_id(), ids.new_id()), START_TIME + timedelta(minutes=30)
    carried = [states.issue(step, state, exp) for step in steps]

    for number, step in enumerate(steps):  # beside processes that are a step behind, or before
        for other in (number - 1, number, number + 1):
            if 0 <= other < len(steps):
                assert states.verify(step, carried[other], START_TIME) == state
                with pytest.raises(StateInvalid):
                    states.verify(step, carried[other], exp)
    with pytest.raises(StateInvalid):
        states.verify(steps[-1], carried[0], START_TIME)
    assert carried[2] == carried[3] != carried[1] == carried[0]
