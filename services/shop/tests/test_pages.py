"""What a browser is shown on its way: its language, whatever can come of an order, and nothing of anybody else's."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from chassis import ids
from chassis_testing.service import START_TIME
from shop.api import pages
from shop.api.words import LANGUAGES, WORDS, Language, language_of
from shop.domain import orders
from shop.domain.orders import PAYMENTS, Order
from shop.domain.products import SOLD_BY_ID
from shop.domain.trips import Outcome, outcome
from shop.settings import ShopSettings

if TYPE_CHECKING:
    import httpx

    from services.shop.tests.conftest import Buyer

DIAMONDS = "diamond_29900"
SECOND = timedelta(seconds=1)
SETTINGS = ShopSettings(sandbox_origin="https://gateway.example", sonet_page_origin="https://page.example")
EVIL = "\"'><script>alert(1)</script><a href=javascript:alert(2)>&"


def order_of(**changed: Any) -> Order:
    product = SOLD_BY_ID[DIAMONDS]
    made, _ = orders.create(ids.new_id(), ids.new_id(), {product: 1}, changed.pop("gateway", "sandbox"), START_TIME)
    return replace(made, **changed)


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline: dict[str, str] = {}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style"):
            self.inline[self._open] = data
        self._open = ""

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


async def came_back(buyer: Buyer, order_id: str, lang: str = "", **headers: str) -> httpx.Response:
    """The page at the end of a round trip of this order."""
    answer = await buyer.client.post("/shop/checkout/sandbox/complete", json={"order_id": order_id})
    state = answer.json()["url"].partition("state=")[2]
    query = f"state={state}" + (f"&lang={lang}" if lang else "")
    path = f"/shop/redirect-in/shop-checkout-{order_id}?{query}"
    return await buyer.harness.client().get(path, headers=headers)


@pytest.mark.parametrize(
    ("changed", "after", "comes_to"),
    [
        ({"payment": "paid"}, SECOND, "paid"),
        ({"payment": "confirming"}, SECOND, "confirming"),
        ({"payment": "review"}, SECOND, "review"),
        ({"payment": "open"}, SECOND, "unpaid"),
        ({"payment": "pending"}, orders.ORDER_LIVES - SECOND, "unpaid"),
        ({"payment": "pending"}, orders.ORDER_LIVES, "late"),
        ({"payment": "failed", "failed_at": START_TIME + SECOND}, 2 * SECOND, "refused"),
        ({"payment": "failed", "failed_at": START_TIME + SECOND}, orders.LATE, "refused"),
        ({"payment": "failed", "failed_at": START_TIME + orders.ORDER_LIVES}, orders.LATE, "expired"),
    ],
    ids=str,
)
def test_what_came_of_an_order(changed: dict[str, Any], after: timedelta, comes_to: Outcome) -> None:
    assert outcome(order_of(**changed), START_TIME + after) == comes_to


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("payment", PAYMENTS)
def test_whatever_comes_of_an_order_is_said_in_each_language(payment: Any, language: Language) -> None:
    settings = SETTINGS.model_copy(update={"app_origin": "https://app.example"})
    order = order_of(payment=payment)
    comes_to = outcome(order, START_TIME)
    heading, advice = WORDS[language].outcomes[comes_to]

    answer = pages.result(order, comes_to, "a.b.c", language, settings)
    page, tags = bytes(answer.body).decode(), Tags(bytes(answer.body).decode())

    assert heading in page
    assert advice in page
    assert tags.of("html") == [{"lang": language}]
    assert answer.headers["content-language"] == language
    assert ([one.get("http-equiv") for one in tags.of("meta")].count("refresh") == 1) == (comes_to == "confirming")
    query = f"?state=a.b.c&lang={language}"
    ways = {"unpaid": [f"/redirect-out{query}", query], "late": [query]}.get(comes_to, [])
    assert [one["href"] for one in tags.of("a")] == [*ways, "https://app.example/"]


def test_a_page_that_leads_nowhere_says_that_it_may_be_closed() -> None:
    page = bytes(pages.result(order_of(), "paid", "a.b.c", "en", SETTINGS).body).decode()

    assert WORDS["en"].close in page
    assert "<a " not in page


def test_a_page_says_nothing_of_what_was_bought_or_by_whom() -> None:
    order = order_of(payment="paid", reference="secret", authorization="secret")

    page = bytes(pages.result(order, "paid", "a.b.c", "en", SETTINGS).body).decode()

    for private in (order.user_id, DIAMONDS, "29900", "299", "secret"):
        assert private not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_script_and_style_is_named_by_the_policy_and_nothing_else_is_allowed(language: Language) -> None:
    shown = [
        pages.result(order_of(), "unpaid", "a.b.c", language, SETTINGS),
        pages.gateway_form(order_of(), language, SETTINGS),
        pages.gateway_form(order_of(authorization="x"), language, SETTINGS),
        pages.gateway_form(order_of(gateway="sonet", authorization="x"), language, SETTINGS),
    ]
    forms = ["'none'", "'none'", SETTINGS.sandbox_origin, SETTINGS.sonet_page_origin]

    for answer, form in zip(shown, forms, strict=True):
        tags = Tags(bytes(answer.body).decode())
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        hashed = {
            f"{tag}-src": f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for tag, text in tags.inline.items()
        }
        nothing = dict.fromkeys(("default-src", "base-uri", "frame-ancestors"), "'none'")
        assert policy == nothing | hashed | {"form-action": form}
        assert ("script" in tags.inline) == (form != "'none'")
        assert not [name for _, attributes in tags.tags for name in attributes if name.startswith("on")]
        assert not [1 for _, attributes in tags.tags if {"src", "style"} & attributes.keys()]


@pytest.mark.parametrize("gateway", ["sandbox", "sonet"])
def test_what_a_gateway_has_said_is_text_in_a_page_whatever_it_is(gateway: Any) -> None:
    order = order_of(gateway=gateway, authorization=EVIL)

    tags = Tags(bytes(pages.gateway_form(order, "en", SETTINGS).body).decode())

    assert EVIL in [one["value"] for one in tags.of("input")]
    assert tags.inline["script"] == pages.SUBMIT
    assert [len(tags.of(tag)) for tag in ("script", "form", "a")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("wanted", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "zh-TW,zh;q=0.9,en-US;q=0.8,en;q=0.7", "zh-Hant"),
        ("", "en-US,en;q=0.9,zh-TW;q=0.8", "en"),
        ("", "en;q=0.5, zh-Hant-HK;q=0.6", "zh-Hant"),
        ("", "en;q=0.5,zh;q=0.50", "en"),  # as good as each other: the first
        ("", "fr,de;q=0.9,zh;q=0.1", "zh-Hant"),
        ("", "zh;q=0", "en"),
        ("", "zh;q=0.000,en;q=0.1", "en"),
        ("", "fr", "en"),
        ("", "*", "en"),
        ("", "ZH-tw", "zh-Hant"),
        ("", ",,;q=;q=1,zh", "zh-Hant"),
        ("", "zh;q=2", "en"),  # no weight: not said
        ("", "zh;q=NaN", "en"),
        ("", "x," * 30 + "zh", "en"),  # nobody likes thirty
        ("", "zhang", "en"),
        ("", "zh\r\nx: y", "en"),
        ("zh-hant", "en", "zh-Hant"),
        ("zh-TW", "en", "zh-Hant"),
        ("en", "zh-TW", "en"),
        ("fr", "zh-TW", "zh-Hant"),
        ("zh;q=0.1", "en", "zh-Hant"),
        ("//evil.example", "zh", "zh-Hant"),
        (EVIL, "zh", "zh-Hant"),
    ],
)
def test_a_page_is_in_the_language_that_is_wanted_else_in_the_browsers(
    wanted: str, accepted: str, language: Language
) -> None:
    assert language_of(wanted, accepted) == language


@pytest.mark.parametrize(
    ("lang", "headers", "language"),
    [
        ("", {}, "en"),
        ("", {"accept-language": "zh-TW,zh;q=0.9"}, "zh-Hant"),
        ("zh-hant", {"accept-language": "en"}, "zh-Hant"),
    ],
)
async def test_who_comes_back_is_told_in_their_language(
    buyer: Buyer, lang: str, headers: dict[str, str], language: Language
) -> None:
    page = await came_back(buyer, await buyer.order(DIAMONDS), lang, **headers)

    assert WORDS[language].outcomes["unpaid"][0] in page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("lang", [None, *LANGUAGES])
async def test_a_language_is_kept_all_the_way(buyer: Buyer, lang: str | None) -> None:
    """From the app, which may speak another language than the browser, to the gateway and back."""
    order_id = await buyer.order(DIAMONDS)
    said = {"order_id": order_id} | ({"lang": lang} if lang else {})
    handed = await buyer.client.post("/shop/checkout/sandbox/complete", json=said)
    [authorize] = await buyer.harness.effects()
    browser = buyer.harness.client()
    browser.headers["accept-language"] = "zh-TW" if lang == "en" else "en"

    out = await browser.get(handed.json()["url"])
    form = await browser.get(out.headers["location"])
    back = await browser.post(authorize.return_url)  # type: ignore[attr-defined] # of the payment that is announced
    result = await browser.get(back.headers["location"])

    language = lang or "en"
    assert re.findall('<html lang="([^"]*)">', form.text + result.text) == [language, language]


async def test_no_other_language_is_asked_for(buyer: Buyer) -> None:
    wrong = {"order_id": await buyer.order(DIAMONDS), "lang": "//evil.example"}

    answer = await buyer.client.post("/shop/checkout/sandbox/complete", json=wrong)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "lang")
