"""Payment gateways behind one small interface: take a payment, and say how it stands.

A call that got no answer, or one that is not understood to the letter, raises `Unknown`: nobody was paid then, and
nobody was refused.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from chassis.context import Outside
from contracts.shop import Gateway
from shop.domain.orders import Order
from shop.domain.payments import Answer, AuthorizePayment, ConfirmPayment, Form
from shop.domain.reconciliation import FetchStatement, Statement
from shop.gateway import sandbox, sonet
from shop.settings import ShopSettings


class PaymentGateway(Protocol):
    """What is asked of a gateway: two calls outside of any transaction, which may be repeated, and a form."""

    async def authorize(self, payment: AuthorizePayment, outside: Outside) -> str:
        """Have the gateway expect this payment; returns what its payer shows there."""

    async def confirm(self, payment: ConfirmPayment, outside: Outside) -> Answer:
        """How the payment of an order stands, in the gateway's own words."""

    def form(self, order: Order, authorization: str, settings: ShopSettings) -> Form:
        """What its payer's browser posts there, once the payment is expected. Pure."""


class PaymentList(Protocol):
    """What is asked besides of a gateway that can tell what it took (`domain.reconciliation.LISTING`)."""

    async def list_payments(self, asked: FetchStatement, outside: Outside) -> Statement:
        """What it took on a day, part by part."""


LISTS: Final[Mapping[Gateway, PaymentList]] = {"sandbox": sandbox.Sandbox()}
GATEWAYS: Final[Mapping[Gateway, PaymentGateway]] = {"sandbox": sandbox.Sandbox(), "sonet": sonet.Sonet()}
