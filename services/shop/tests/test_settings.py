"""What the shop refuses to start with."""

import pytest
from pydantic import ValidationError

from contracts.shop import Gateway
from shop.settings import ShopSettings

SANDBOX: frozenset[Gateway] = frozenset({"sandbox"})


def test_play_money_is_taken_on_a_local_stack_only() -> None:
    assert ShopSettings(payment_gateways=SANDBOX, devstack=True).payment_gateways == SANDBOX
    with pytest.raises(ValidationError, match="DEVSTACK=true"):
        ShopSettings(payment_gateways=SANDBOX)
