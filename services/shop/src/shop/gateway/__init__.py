"""Payment gateways behind one small interface: take a payment, and say how it stands.

A call that got no answer, or one that is not understood to the letter, raises `Unknown`: nobody was paid then, and
nobody was refused.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from chassis.context import Outside
from contracts.shop import Gateway
from shop.domain.payments import Answer, AuthorizePayment, ConfirmPayment
from shop.gateway import sandbox


class PaymentGateway(Protocol):
    """What is asked of a gateway, by calls outside of any transaction. Both may be repeated."""

    async def authorize(self, payment: AuthorizePayment, outside: Outside) -> str:
        """Have the gateway expect this payment; returns what its payer shows there."""

    async def confirm(self, payment: ConfirmPayment, outside: Outside) -> Answer:
        """How the payment of an order stands, in the gateway's own words."""


GATEWAYS: Final[Mapping[Gateway, PaymentGateway]] = {"sandbox": sandbox.Sandbox()}
