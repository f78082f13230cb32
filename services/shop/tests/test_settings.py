"""What the shop refuses to start with."""

import pytest
from pydantic import ValidationError

from shop.settings import ShopSettings


def test_play_money_is_taken_on_a_local_stack_only() -> None:
    assert ShopSettings(payment_gateways={"sandbox"}, devstack=True).payment_gateways == {"sandbox"}
    with pytest.raises(ValidationError, match="DEVSTACK=true"):
        ShopSettings(payment_gateways={"sandbox"})
