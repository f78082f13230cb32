"""The gateway of local stacks, in which nobody pays (`devstack.sandbox`). Both sides sign what they say."""

import hashlib
import hmac
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chassis.context import Outside
from chassis.effects.vendor_client import VENDOR_AWAY
from contracts.values import Token
from shop.domain import reconciliation
from shop.domain.orders import Order
from shop.domain.payments import Answer, AuthorizePayment, ConfirmPayment, Form, Unknown
from shop.domain.reconciliation import FetchStatement, Statement
from shop.settings import ShopSettings

SIGNATURE = "x-sandbox-signature"
CALL_SECONDS = 4.0  # its slowest answer takes two

M = TypeVar("M", bound=BaseModel)


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Authorized(_Said):
    """The payment is expected."""

    authorization: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class Standing(_Said):
    """How it stands."""

    order_id: str
    status: Literal["open", "paid", "cancelled"]
    amount: Annotated[int, Field(ge=0)]
    currency: str
    reference: Token


class Listed(_Said):
    """What it took, and from behind which order the next part begins."""

    payments: Annotated[tuple[Standing, ...], Field(strict=False, max_length=1_000)]
    next: str | None


class Sandbox:
    """The gateway `sandbox`."""

    async def authorize(self, payment: AuthorizePayment, outside: Outside) -> str:
        """Have it expect a payment. Raises Unknown."""
        asked = payment.model_dump_json(include={"order_id", "amount", "currency", "return_url", "exp"})
        return (await _call("authorize", asked, Authorized, outside)).authorization

    async def confirm(self, payment: ConfirmPayment, outside: Outside) -> Answer:
        """Ask how a payment stands. Raises Unknown."""
        said = await _call("confirm", payment.model_dump_json(include={"order_id"}), Standing, outside)
        if said.order_id != payment.order_id:
            raise Unknown("it speaks of another order")
        return Answer(said.order_id, said.status, said.amount, said.currency, said.reference)

    async def list_payments(self, asked: FetchStatement, outside: Outside) -> Statement:
        """Ask what it took on a day. Raises Unknown."""
        said = await _call("list", asked.model_dump_json(include={"day", "after"}), Listed, outside)
        paid = (
            reconciliation.line(asked.gateway, one.reference, one.order_id, one.amount, one.currency, asked.day)
            for one in said.payments
        )
        return Statement(tuple(paid), said.next)

    def form(self, order: Order, authorization: str, settings: ShopSettings) -> Form:  # noqa: ARG002 - its code is enough
        """What the browser posts to its page."""
        return Form(settings.sandbox_origin, "/pay", {"authorization": authorization})


async def _call(path: str, asked: str, of: type[M], outside: Outside) -> M:
    settings = outside.settings(ShopSettings)
    secret = settings.sandbox_secret.get_secret_value().encode()
    headers = {SIGNATURE: _sign(secret, asked.encode()), "content-type": "application/json"}
    try:
        answer = await outside.http.post(f"{settings.sandbox_origin}/{path}", asked, headers, seconds_max=CALL_SECONDS)
    except VENDOR_AWAY as error:
        raise Unknown("no answer") from error
    if not answer.is_success:
        raise Unknown(f"answered {answer.status}")
    if not hmac.compare_digest(_sign(secret, answer.body).encode(), answer.headers.get(SIGNATURE, "").encode()):
        raise Unknown("its answer is not signed")
    try:
        return of.model_validate_json(answer.body)
    except ValidationError:
        raise Unknown("its answer is not understood") from None


def _sign(secret: bytes, body: bytes) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()
