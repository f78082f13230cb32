"""The pages between the shop and a gateway: no script but one that the policy names, nothing of another's, not kept."""

import base64
import hashlib
import html
from typing import Final

from fastapi import Response

from shop.domain.orders import Order, Payment
from shop.gateway import GATEWAYS
from shop.settings import ShopSettings

SUBMIT: Final = "document.forms[0].submit()"
_SUBMIT_HASH: Final = base64.b64encode(hashlib.sha256(SUBMIT.encode()).digest()).decode()
_POLICY: Final = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
WAIT_SECONDS: Final = 1  # until a page looks again

SAID: Final[dict[Payment, str]] = {
    "open": "This order has not been paid.",
    "pending": "This order has not been paid.",
    "confirming": "The payment is being confirmed. This page looks again by itself.",
    "paid": "Paid. Thank you.",
    "failed": "The payment did not go through. Nothing was bought.",
    "review": "The payment is being looked at.",
    "refunded": "The money has been given back.",
    "charged_back": "The money has been given back.",
}


def session_of(order: Order) -> str:
    """What the round trip of an order is called in paths and cookies."""
    return f"shop-checkout-{order.id}"


def result_path(order: Order, state: str) -> str:
    """Where a round trip ends."""
    return f"/shop/redirect-in/{session_of(order)}?state={state}"


def cookie(order: Order, value: str, settings: ShopSettings, seconds: int = 1_800) -> str:
    """The cookie of a round trip, for its end alone; without `seconds` it is cleared."""
    name = session_of(order)
    secure = "; Secure" if settings.public_origin.startswith("https:") else ""
    kept = f"Path=/shop/redirect-in/{name}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    return f"{name}={value}; {kept}"


def go(path: str, cookie: str | None = None) -> Response:
    """Send the browser on, to a path of ours, as a GET whatever it came with."""
    headers = {"location": path, "referrer-policy": "no-referrer"} | ({"set-cookie": cookie} if cookie else {})
    return Response(status_code=303, headers=headers)


def gateway_form(order: Order, settings: ShopSettings) -> Response:
    """The form that takes the browser to the gateway; before that expects it, a page that looks again."""
    if order.authorization is None:
        return _page("<p>One moment.</p>", _POLICY, refresh=True)
    form = GATEWAYS[order.gateway].form(order, order.authorization, settings)
    hidden = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in form.fields.items()
    )
    inner = (
        f'<form method="post" action="{html.escape(form.origin + form.path)}">{hidden}'
        f"<button>Go on to the payment</button></form><script>{SUBMIT}</script>"
    )
    return _page(inner, f"{_POLICY}; form-action {form.origin}; script-src 'sha256-{_SUBMIT_HASH}'")


def result(order: Order, settings: ShopSettings) -> Response:
    """How the payment stands, for whoever looks: nothing of what was bought, or by whom."""
    page = _page(f"<p>{SAID[order.payment]}</p>", _POLICY, refresh=order.payment == "confirming")
    page.headers["set-cookie"] = cookie(order, "", settings, 0)
    return page


def _page(inner: str, policy: str, *, refresh: bool = False) -> Response:
    again = f'<meta http-equiv="refresh" content="{WAIT_SECONDS}">' if refresh else ""
    page = f'<!doctype html><html lang="en"><meta charset="utf-8">{again}<title>Footlights</title>{inner}</html>'
    headers = {"content-security-policy": policy, "referrer-policy": "no-referrer", "x-frame-options": "DENY"}
    return Response(page, media_type="text/html", headers=headers)
