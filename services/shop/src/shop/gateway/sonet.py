"""So-net's mPay (SPEC §8): `authOrder`, the browser's POST to its page and its way back, `confirmOrder`.

Nothing of So-net's is signed: it knows us by our merchant id and our address, and what comes back with a browser may
have been written by anybody. So the order, its amount and its payer come from our record, and an order is paid when
`confirmOrder` says so, for its id and a payment that a notification has named.
"""

import asyncio
import re
from typing import Final, Literal
from urllib.parse import parse_qsl, urlencode

from chassis.context import Outside
from chassis.effects.vendor_client import VENDOR_AWAY
from shop.domain.orders import Hint, Order
from shop.domain.payments import Answer, AuthorizePayment, ConfirmPayment, Form, Unknown, best_of, product_name
from shop.gateway import sonet_lines
from shop.settings import ShopSettings

CURRENCY: Final = "TWD"
MINOR_UNITS: Final = 100  # of a dollar: So-net counts dollars, an order cents
DONE: Final = "00000"  # an answer's `resultCode`; what any other one means is not known for certain
PAID: Final = "ok"  # a notification's
CALL_SECONDS: Final = 4.0
FIELDS_MAX: Final = 50  # of a notification; So-net's has twelve
NOT_UNDERSTOOD: Final = 0  # a price that is none: no order costs that

_CODE = re.compile("[0-9A-Za-z_-]{1,64}")
_DOLLARS = re.compile("[0-9]{1,9}")


class Sonet:
    """The gateway `sonet`."""

    async def authorize(self, payment: AuthorizePayment, outside: Outside) -> str:
        """`authOrder`: returns the `authCode`. Raises Unknown."""
        said = await _call("authOrder", order_fields(payment, outside.settings(ShopSettings)), outside)
        if said["resultCode"] != DONE or not _CODE.fullmatch(said.get("authCode", "")):
            raise Unknown(f"it does not expect the payment: {said['resultCode']}")
        return said["authCode"]

    async def confirm(self, payment: ConfirmPayment, outside: Outside) -> Answer:
        """`confirmOrder`, for each payment that a notification has named. Raises Unknown.

        Any code but that of success leaves it open: what was named may be another's payment, or nobody's.
        """
        names = dict.fromkeys(hint.reference for hint in payment.hints)
        calls = (_confirm(payment, name, outside) for name in names)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        paid = [answer for answer in answers if isinstance(answer, Answer) and answer.status == "paid"]
        if paid:
            return best_of(payment, paid)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return Answer(payment.order_id, "open", payment.amount, payment.currency, "")

    def form(self, order: Order, authorization: str, settings: ShopSettings) -> Form:
        """What the browser posts to its page."""
        return Form(settings.sonet_page_origin, "/paymentRule.php", page_fields(order, authorization, settings))


def order_fields(payment: AuthorizePayment, settings: ShopSettings) -> dict[str, str]:
    """What `authOrder` tells of a payment. Raises Unknown: So-net could not be told its amount."""
    if payment.currency != CURRENCY or payment.amount % MINOR_UNITS:
        raise Unknown("it takes whole dollars of Taiwan only")
    return {
        "icpId": settings.sonet_merchant_id,
        "icpOrderId": payment.order_id,
        "icpProdId": payment.product_id,
        "icpProdDesc": payment.product_id,
        "mpId": settings.sonet_payment_type,
        "memo": f"Order {payment.order_id}",
        "icpUserId": payment.user_id,
        "price": str(payment.amount // MINOR_UNITS),
        "returnUrl": payment.return_url,
    }


def page_fields(order: Order, authorization: str, settings: ShopSettings) -> dict[str, str]:
    """What a browser carries to So-net's page: no price, which `authOrder` has fixed."""
    return {
        "icpId": settings.sonet_merchant_id,
        "icpOrderId": order.id,
        "icpProdId": product_name(order),
        "mpId": settings.sonet_payment_type,
        "memo": f"Order {order.id}",
        "icpUserId": order.user_id,
        "authCode": authorization,
    }


def hint_of(body: bytes, order: Order, settings: ShopSettings) -> Hint | None:
    """The payment that a notification names; None: none, or it is not of this order, merchant and payer."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        return None
    said = dict(pairs)
    ours = page_fields(order, order.authorization or said.get("authCode", ""), settings)  # perhaps not noted yet
    same = ("icpId", "icpOrderId", "icpUserId", "authCode")
    if len(said) != len(pairs) or any(said.get(name, ours[name]) != ours[name] for name in same):
        return None
    reference = said.get("sonetOrderNo", "")
    if said.get("resultCode") != PAID or not _CODE.fullmatch(reference):
        return None
    return Hint(reference, _amount(said["price"]) if "price" in said else None)


async def _confirm(payment: ConfirmPayment, reference: str, outside: Outside) -> Answer:
    merchant = outside.settings(ShopSettings).sonet_merchant_id
    asked = {"icpId": merchant, "icpOrderId": payment.order_id, "sonetOrderNo": reference}
    said = await _call("confirmOrder", asked, outside)
    if any(said.get(name, value) != value for name, value in asked.items()):
        raise Unknown("it speaks of another payment")
    status: Literal["paid", "open"] = "paid" if said["resultCode"] == DONE else "open"
    told = [hint.amount for hint in payment.hints if hint.reference == reference and hint.amount is not None]
    told += [_amount(said["price"])] if "price" in said else []
    amount = next((one for one in told if one != payment.amount), payment.amount)
    return Answer(payment.order_id, status, amount, payment.currency, reference)


def _amount(price: str) -> int:
    return int(price) * MINOR_UNITS if _DOLLARS.fullmatch(price) else NOT_UNDERSTOOD


async def _call(action: str, fields: dict[str, str], outside: Outside) -> dict[str, str]:
    url = f"{outside.settings(ShopSettings).sonet_api_origin}/microPaymentPost.php"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    form = urlencode({**fields, "doAction": action})
    try:
        answer = await outside.http.post(url, form, headers, seconds_max=CALL_SECONDS)
    except VENDOR_AWAY as error:
        raise Unknown("no answer") from error
    if not answer.is_success:
        raise Unknown(f"answered {answer.status}")
    return sonet_lines.read(answer.body)
