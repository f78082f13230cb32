"""Nobody is sent anywhere but to a gateway and back, whatever is written into whatever the round trip carries.

Vectors are those that have led open redirects astray elsewhere, in every place that a stranger can write to: queries,
paths, headers, bodies. Each is refused or passed over; what sends a browser on is ours to the letter.

    FUZZ_TIMES=20 python -m pytest services/shop/tests/test_redirects.py  # 20 times the requests, new ones each time
"""

from __future__ import annotations

import asyncio
import os
import re
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from chassis_testing.astray import OURS, VECTORS
from chassis_testing.service import ServiceHarness
from shop import store
from shop.domain import orders
from shop.domain.payments import AuthorizePayment
from shop.service import SERVICE

if TYPE_CHECKING:
    from services.shop.tests.conftest import Buyer

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
TIMES = int(os.environ.get("FUZZ_TIMES", "0"))
EXAMPLES = 300
GATEWAYS = {"sandbox": "https://sandbox.example/pay", "sonet": "https://sonet.example/paymentRule.php"}
NAMES = (  # those of the first notes, of gateways, and those that others have
    *("next", "resume", "action", "session", "metadata", "returnUrl", "return_url", "returnURL", "url", "redirect"),
    *("redirect_uri", "continue", "callback", "target", "dest", "goto", "origin", "host", "order_id", "gateway"),
)
HEADERS = (
    *("host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-server"),
    *("x-forwarded-for", "forwarded", "x-original-url", "x-rewrite-url", "x-host", "x-http-host-override", "referer"),
    *("origin", "accept-language", "cookie", "x-request-id", "x-client-id", "x-session-id", "accept", "user-agent"),
)
FIELDS = (
    *("icpId", "icpOrderId", "icpProdId", "icpUserId", "mpId", "memo", "authCode", "price", "resultMesg"),
    *("sonetOrderNo", "authorization", "choice", "result"),
)
OWN_PATH = re.compile(
    r"(/redirect-out|/tools/POST\.html|/shop/redirect-in/shop-checkout-[0-9a-f]{24}|)"
    r"\?state=[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(&lang=(en|zh-Hant))?"
)


class Leads(HTMLParser):
    """Where a page leads: links, forms, and whatever else has an address."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[str] = []
        self.links: list[str] = []
        self.refreshes: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("action", "formaction"):
                self.forms.append(value or "")
            elif name in ("href", "src", "srcset", "data", "ping", "background", "poster", "cite"):
                self.links.append(value or "")
            elif (tag, name) == ("meta", "content") and ("http-equiv", "refresh") in attrs:
                self.refreshes.append(value or "")


def require_ours(answer: httpx.Response) -> None:
    """This answer leads nowhere but on our own way, and nothing breaks."""
    assert answer.status_code < 500, answer.text
    headers = [value for _, value in answer.headers.raw]
    assert not [value for value in headers if re.search(rb"[\x00-\x1f\x7f]", value)]
    assert ("location" in answer.headers) == (answer.status_code == 303)
    assert OWN_PATH.fullmatch(answer.headers.get("location", "?state=a.b.c"))
    assert {"refresh", "content-location", "link"}.isdisjoint(answer.headers)
    said = b"\n".join([*headers, answer.content])
    assert "evil" not in unicodedata.normalize("NFKC", said.decode()).lower()
    leads = Leads(answer.text if "html" in answer.headers.get("content-type", "") else "")
    assert set(leads.forms) <= set(GATEWAYS.values())
    assert all(map(OWN_PATH.fullmatch, leads.links)), leads.links
    assert set(leads.refreshes) <= {"1"}
    if answer.content and "json" in answer.headers["content-type"]:
        url = answer.json().get("url", f"{OURS}/redirect-out?state=a.b.c")
        assert url.startswith(f"{OURS}/redirect-out?")
        assert OWN_PATH.fullmatch(url.removeprefix(OURS))


@dataclass(frozen=True)
class Asked:
    """A request; `{state}` and `{order}` in it stand for those of the trip."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    body: bytes = b""


@dataclass
class Trip:
    """An order at its gateway, and a browser that has its state; and its buyer."""

    buyer: Buyer
    order_id: str
    state: str

    async def ask(self, asked: Asked, client: httpx.AsyncClient | None = None) -> httpx.Response:
        client = client or self.buyer.harness.client()
        query = urlencode({self._of(name): self._of(value) for name, value in asked.query.items()})
        raw = f"{quote(self._of(asked.path), safe='/.-')}?{query}".encode()
        url = httpx.URL(OURS).copy_with(raw_path=raw)
        headers = [(name.encode(), value.encode()) for name, value in asked.headers.items()]
        if asked.json is not None:
            return await client.request(asked.method, url, headers=headers, json=self._filled(asked.json))
        return await client.request(asked.method, url, headers=headers, content=asked.body)

    def _of(self, text: str) -> str:
        return text.replace("{state}", self.state).replace("{order}", self.order_id)

    def _filled(self, said: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._of(value) if isinstance(value, str) else value for name, value in said.items()}


@pytest.fixture
async def trips(harness_of: HarnessOf, buyer: Buyer) -> dict[str, Trip]:
    """One with each gateway, which expects the payment."""
    harness = await harness_of(
        SERVICE,
        PAYMENT_GATEWAYS=list(GATEWAYS),
        SANDBOX_ORIGIN="https://sandbox.example",
        SONET_PAGE_ORIGIN="https://sonet.example",
    )
    shopper = type(buyer)(harness)
    return {gateway: await _handed_over(shopper, gateway) for gateway in GATEWAYS}


async def _handed_over(shopper: Buyer, gateway: str) -> Trip:
    order_id = str((await shopper.check_out("diamond_29900", 1, gateway)).json()["order_id"])
    handed = await shopper.client.post(f"/shop/checkout/{gateway}/complete", json={"order_id": order_id})
    async with shopper.harness.tx() as tx:
        order = await tx.get(store.ORDERS, order_id)
        assert order is not None
        tx.put(store.ORDERS, orders.authorized(order, "0" * 32))
    return Trip(shopper, order_id, str(handed.json()["url"].partition("state=")[2]))


GETS = (
    *("/redirect-out", "/tools/POST.html"),
    *("/shop/redirect-in/shop-checkout-{order}", "/redirect-in/shop-checkout-{order}"),
)
POSTS = ("/notify/sandbox", "/notify/sonet")
PAGES = (*(("GET", path) for path in GETS), *(("POST", path) for path in POSTS))
STATE = {"state": "{state}"}
OK = {"resultCode": "ok", "sonetOrderNo": "SN1"}
COMPLETE, PAY = "/shop/checkout/sandbox/complete", {"order_id": "{order}"}
WISH = {"product_id": "diamond_29900", "quantity": 1, "gateway": "sandbox"}


def form(*names: str, of: str, beside: dict[str, str] | None = None) -> bytes:
    """A form that says the same everywhere but beside it."""
    return urlencode(dict.fromkeys(names, of) | (beside or {})).encode()


OF_A_PAGE: dict[str, Callable[[str, str, str], Asked]] = {
    "state": lambda method, path, vector: Asked(method, path, {"state": vector}),
    "after the state": lambda method, path, vector: Asked(method, path, {"state": "{state}" + vector}),
    "before the state": lambda method, path, vector: Asked(method, path, {"state": vector + "{state}"}),
    "lang": lambda method, path, vector: Asked(method, path, STATE | {"lang": vector}),
    "other names": lambda method, path, vector: Asked(method, path, STATE | dict.fromkeys(NAMES, vector)),
    "headers": lambda method, path, vector: Asked(method, path, STATE, dict.fromkeys(HEADERS, vector)),
    "cookie": lambda method, path, vector: Asked(method, path, STATE, {"cookie": f"shop-checkout-{{order}}={vector}"}),
    "the path's end": lambda method, path, vector: Asked(method, path + vector, STATE),
}
OF_A_NOTIFICATION: dict[str, Callable[[str, str], Asked]] = {
    "body": lambda path, vector: Asked("POST", path, STATE, body=vector.encode()),
    "every field": lambda path, vector: Asked("POST", path, STATE, body=form(*FIELDS, *NAMES, of=vector)),
    "beside what is right": lambda path, vector: Asked("POST", path, STATE, body=form(*NAMES, of=vector, beside=OK)),
}
OF_A_COMMAND: dict[str, Callable[[str], Asked]] = {
    **{
        f"checkout, {name}": partial(lambda n, v: Asked("POST", "/shop/checkout", json=WISH | {n: v}), name)
        for name in WISH
    },
    "checkout, other fields": lambda v: Asked("POST", "/shop/checkout", json=WISH | dict.fromkeys(NAMES, v)),
    "checkout, headers": lambda v: Asked("POST", "/shop/checkout", headers=dict.fromkeys(HEADERS, v), json=WISH),
    "complete, gateway": lambda v: Asked("POST", f"/shop/checkout/{v}/complete", json=PAY),
    "complete, order_id": lambda v: Asked("POST", COMPLETE, json={"order_id": v}),
    "complete, lang": lambda v: Asked("POST", COMPLETE, json=PAY | {"lang": v}),
    "complete, other fields": lambda v: Asked("POST", COMPLETE, json=PAY | dict.fromkeys(NAMES, v)),
    "complete, query": lambda v: Asked("POST", COMPLETE, {"state": v}, json=PAY),
    "complete, headers": lambda v: Asked("POST", COMPLETE, headers=dict.fromkeys(HEADERS, v), json=PAY),
}
PLACES: dict[str, Callable[[str], Asked]] = {
    **{f"{path}, {what}": partial(write, method, path) for method, path in PAGES for what, write in OF_A_PAGE.items()},
    **{f"{path}, {what}": partial(write, path) for path in POSTS for what, write in OF_A_NOTIFICATION.items()},
    "/shop/redirect-in, session": lambda v: Asked("GET", f"/shop/redirect-in/{v}", STATE),
    "/redirect-in, session": lambda v: Asked("GET", f"/redirect-in/{v}", STATE),
    "/notify, gateway": lambda v: Asked("POST", f"/notify/{v}", STATE),
    **OF_A_COMMAND,
}


@pytest.mark.parametrize("place", PLACES)
async def test_no_address_of_anybody_elses_is_followed(trips: dict[str, Trip], place: str) -> None:
    trip = trips["sonet" if "sonet" in place else "sandbox"]
    client = trip.buyer.client if place in OF_A_COMMAND else trip.buyer.harness.client()

    for vector in VECTORS:
        require_ours(await trip.ask(PLACES[place](vector), client))
    announced = [one for one in await trip.buyer.harness.effects() if isinstance(one, AuthorizePayment)]
    assert announced
    for payment in announced:
        assert OWN_PATH.fullmatch(payment.return_url.removeprefix(f"{OURS}/notify/{payment.gateway}"))


@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_the_way_itself_is_ours(trips: dict[str, Trip], gateway: str) -> None:
    """What is looked for above is there when nobody meddles."""
    trip = trips[gateway]

    answers = [await trip.ask(Asked(method, path, STATE)) for method, path in PAGES if path != "/notify/sandbox"]

    for answer in answers:
        require_ours(answer)
    assert [answer.status_code for answer in answers] == [303, 200, 200, 200, 303]
    assert Leads(answers[1].text).forms == [GATEWAYS[gateway]]
    assert Leads(answers[2].text).links != []


@pytest.mark.parametrize(
    "leads",
    [
        lambda v: httpx.Response(303, headers=[(b"location", v.encode())]),
        lambda v: httpx.Response(200, headers=[(b"location", v.encode())]),
        lambda v: httpx.Response(200, html=f'<form action="{v}">'),
        lambda v: httpx.Response(200, html=f'<a href="{v}">'),
        lambda v: httpx.Response(200, html=f'<meta http-equiv="refresh" content="1;url={v}">'),
        lambda v: httpx.Response(200, json={"url": v}),
        lambda v: httpx.Response(200, json={"url": f"{OURS}{v}"}),
        lambda v: httpx.Response(303, headers=[(b"location", f"/tools/POST.html?state=a.b.c{v}".encode())]),
    ],
)
def test_where_one_would_lead_astray_it_would_be_noticed(leads: Callable[[str], httpx.Response]) -> None:
    for vector in VECTORS:
        with pytest.raises(AssertionError):
            require_ours(leads(vector))


anything = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(VECTORS),
    st.just("{state}"),
    st.builds("{}{{state}}{}".format, *(st.text("/\\.:@%=&;#?\r\n\t \x00<>'\"é", max_size=3),) * 2),
)
names = st.one_of(st.sampled_from(("state", "lang", *NAMES)), st.text("abc[]%.é$", min_size=1, max_size=5))
forms = st.dictionaries(st.sampled_from(("resultCode", *FIELDS)), anything, max_size=6)
requests = st.builds(
    Asked,
    method=st.sampled_from(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS")),
    path=st.one_of(
        st.sampled_from((*GETS, *POSTS)),
        st.builds("/shop/redirect-in/{}".format, anything),
        st.builds("/notify/{}".format, anything),
    ),
    query=st.builds(dict.__or__, st.dictionaries(names, anything, max_size=4), st.sampled_from((STATE, {}))),
    headers=st.dictionaries(st.sampled_from(HEADERS), anything, max_size=3),
    body=st.one_of(st.binary(max_size=100), forms.map(urlencode).map(str.encode)),
)


async def test_no_request_breaks_a_page_or_leads_astray(trips: dict[str, Trip]) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=EXAMPLES * (TIMES or 1), derandomize=not TIMES, database=None)
    @given(requests, st.sampled_from(sorted(GATEWAYS)))
    def each(asked: Asked, gateway: str) -> None:
        note(f"{asked}")
        require_ours(asyncio.run_coroutine_threadsafe(trips[gateway].ask(asked), loop).result(120))

    await asyncio.to_thread(each)
