"""The pages between the shop and a gateway: no script but one that the policy names, nothing of another's, not kept."""

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from typing import Final

from fastapi import Response

from shop.api.words import WORDS, Language
from shop.domain.orders import Order
from shop.domain.trips import Outcome
from shop.gateway import GATEWAYS
from shop.settings import ShopSettings


def _hash(inline: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}'"


SUBMIT: Final = "document.forms[0].submit()"
STYLE: Final = "body{font:1.125em/1.6 sans-serif;margin:3em auto;max-width:32em;padding:0 1em}a{margin-right:1em}"
_POLICY: Final = f"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; style-src {_hash(STYLE)}"
_NO_FORM: Final = f"{_POLICY}; form-action 'none'"
WAIT_SECONDS: Final = 1  # until a page looks again


@dataclass(frozen=True, slots=True)
class Carried:
    """What a browser carries from page to page: the state, and in which language it reads; both are ours."""

    state: str
    language: Language | None = None

    @property
    def query(self) -> str:
        """The same as a query."""
        return f"state={self.state}" + (f"&lang={self.language}" if self.language else "")


def session_of(order: Order) -> str:
    """What the round trip of an order is called in paths and cookies."""
    return f"shop-checkout-{order.id}"


def result_path(order: Order, carried: Carried) -> str:
    """Where a round trip ends."""
    return f"/shop/redirect-in/{session_of(order)}?{carried.query}"


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


def gateway_form(order: Order, language: Language, settings: ShopSettings) -> Response:
    """The form that takes the browser to the gateway; before that expects it, a page that looks again."""
    words = WORDS[language]
    if order.authorization is None:
        return _page(f"<p>{words.wait}</p>", language, _NO_FORM, refresh=True)
    form = GATEWAYS[order.gateway].form(order, order.authorization, settings)
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in form.fields.items()
    )
    inner = (
        f'<form method="post" action="{escape(form.origin + form.path)}">{hidden}'
        f"<button>{words.to_payment}</button></form><script>{SUBMIT}</script>"
    )
    return _page(inner, language, f"{_POLICY}; form-action {form.origin}; script-src {_hash(SUBMIT)}")


def result(order: Order, outcome: Outcome, state: str, language: Language, settings: ShopSettings) -> Response:
    """What came of an order and where to go, for whoever looks: nothing of what was bought, or by whom."""
    words = WORDS[language]
    heading, advice = words.outcomes[outcome]
    query = Carried(state, language).query
    pay = {f"/redirect-out?{query}": words.pay} if outcome == "unpaid" else {}
    again = {f"?{query}": words.look_again} if outcome in ("unpaid", "late") else {}
    back = {f"{settings.app_origin}/": words.back} if settings.app_origin else {}
    links = "".join(f'<a href="{escape(to)}">{text}</a>' for to, text in (pay | again | back).items())
    inner = f"<h1>{heading}</h1><p>{advice}</p><p>{links or words.close}</p><p>{words.order} {order.id}</p>"
    page = _page(inner, language, _NO_FORM, refresh=outcome == "confirming")
    page.headers["set-cookie"] = cookie(order, "", settings, 0)
    return page


def _page(inner: str, language: Language, policy: str, *, refresh: bool = False) -> Response:
    again = f'<meta http-equiv="refresh" content="{WAIT_SECONDS}">' if refresh else ""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{again}<title>Footlights</title>'
    page = f'<!doctype html><html lang="{language}">{head}<style>{STYLE}</style><body>{inner}</body></html>'
    headers = {
        "content-language": language,
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
    }
    return Response(page, media_type="text/html", headers=headers)
