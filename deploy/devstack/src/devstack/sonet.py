"""So-net's mPay as far as it is known, with nobody's money: `python -m devstack.sonet PORT [HOST]`.

It forgets all at its end.

    POST /microPaymentPost.php  merchant  doAction=authOrder|confirmOrder → `name|name TAB value|value`
    POST /paymentRule.php       browser   what authOrder was told, and its authCode → the page to pay on
    POST /choose                browser   authCode, choice=pay|cancel → a form that posts itself to the merchant
    PUT  /behaviour             tests     {authOrder|confirmOrder: a name in ANSWERS, way_back: a name in WAYS_BACK}
    POST /notify                tests     {icpOrderId, times, …}: it tells the merchant, so often at once, with these
                                          fields in place of its own; answers how it was received
    GET  /payments/{icpOrderId} tests     how it stands with one

Its servers answer at any name of loopback. A browser that knows the shop as 127.0.0.1 and this as localhost goes
from one site to another, as to the real one: it brings the shop no cookie with a POST.
"""

import html
import itertools
import json
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from devstack.sandbox_http import LOOPBACK, SandboxHandler, listening

MERCHANT: Final = "demo_merchant"
PAYMENT_TYPES: Final = ("GASH_GPAY", "OTPCHT", "OTP839", "TCC", "FET", "APT")
NOTIFY_SECONDS: Final = 30.0
NOTIFIED_AT_ONCE_MAX: Final = 100
SLOW_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 60.0

ANSWERS: Final = (
    "well",
    "slow",
    "silent",
    "broken",
    "page",
    "bars",
    "two_lines",
    "refused",
    "other_order",
    "other_price",
)
WAYS_BACK: Final = ("browser", "browser_and_notice", "notice", "never")
"""Who tells the merchant what the payer has chosen."""

ORDER_FIELDS: Final = ("icpOrderId", "icpProdId", "mpId", "memo", "icpUserId")


@dataclass
class Payment:
    """One that a merchant has announced; `price` in whole dollars."""

    fields: dict[str, str]
    price: str
    return_url: str
    auth_code: str
    number: str
    status: str = "open"
    confirmations: int = 0


@dataclass
class Sonet:
    """What it knows: a payment for each order, and how it is to behave."""

    payments: dict[str, Payment] = field(default_factory=dict)
    behaviour: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def act(self, form: dict[str, str]) -> dict[str, str]:
        """What one of its operations comes to."""
        if form.get("icpId") != MERCHANT:
            return {"resultCode": "90001", "resultMesg": "unknown merchant"}
        with self.lock:
            match form.get("doAction"):
                case "authOrder":
                    return self._expect(form)
                case "confirmOrder":
                    return self._confirm(form)
                case _:
                    return {"resultCode": "90002", "resultMesg": "unknown action"}

    def _expect(self, form: dict[str, str]) -> dict[str, str]:
        price, return_url = form.get("price", ""), form.get("returnUrl", "")
        if not (price.isdecimal() and int(price) and return_url and all(form.get(name) for name in ORDER_FIELDS)):
            return {"resultCode": "90003", "resultMesg": "something is missing"}
        if form["mpId"] not in PAYMENT_TYPES:
            return {"resultCode": "90004", "resultMesg": "unknown mpId"}
        fields = {name: form[name] for name in ORDER_FIELDS}
        number = f"SN{next(self.numbers):010}"
        new = Payment(fields, price, return_url, secrets.token_hex(16), number)
        known = self.payments.setdefault(form["icpOrderId"], new)
        if (known.fields, known.price) != (fields, price):
            return {"resultCode": "90005", "resultMesg": "another order has this id"}
        return {"resultCode": "00000", "resultMesg": "", "authCode": known.auth_code}

    def _confirm(self, form: dict[str, str]) -> dict[str, str]:
        payment = self.payments.get(form.get("icpOrderId", ""))
        if payment is None or payment.number != form.get("sonetOrderNo") or payment.status != "paid":
            return {"resultCode": "90006", "resultMesg": "no such payment"}
        payment.confirmations += 1
        return {"resultCode": "00000", "resultMesg": "", "icpOrderId": form["icpOrderId"]}

    def of_code(self, auth_code: str) -> Payment | None:
        """The payment that a browser shows a code for."""
        with self.lock:
            return next((one for one in self.payments.values() if one.auth_code == auth_code), None)

    def choose(self, payment: Payment, choice: str) -> None:
        """What the payer decides; who has paid has, and who has cancelled may think again."""
        with self.lock:
            if payment.status != "paid":
                payment.status = "paid" if choice == "pay" else "cancelled"

    def says(self, payment: Payment) -> dict[str, str]:
        """What the merchant is told of a payment, by the browser or by a notice."""
        paid = payment.status == "paid"
        return {
            "resultCode": "ok" if paid else "fail",
            "resultMesg": "" if paid else "使用者按下取消鈕取消訂單",
            "icpId": MERCHANT,
            **payment.fields,
            "price": payment.price,
            "sonetOrderNo": payment.number,
            "authCode": payment.auth_code,
        }

    def notify(self, wanted: dict[str, Any]) -> list[int]:
        """Tell the merchant of a payment itself, many times at once, as whoever would forge it might."""
        times = min(int(wanted.pop("times", 1)), NOTIFIED_AT_ONCE_MAX)
        payment = self.payments[str(wanted["icpOrderId"])]
        url = str(wanted.pop("returnUrl", payment.return_url))
        told = urlencode({**self.says(payment), **{str(name): str(value) for name, value in wanted.items()}}).encode()
        with ThreadPoolExecutor(times) as pool:
            return list(pool.map(lambda _: _post(url, told), range(times)))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """A browser would follow; So-net only hears whether it was heard."""


def _post(url: str, body: bytes) -> int:
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, body, NOTIFY_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0


def server(port: int, host: str = LOOPBACK) -> ThreadingHTTPServer:
    """So-net, listening; port 0 is any free one."""
    return listening(_Handler, (host, port), sonet=Sonet())


class _Handler(SandboxHandler):
    sonet: Sonet

    def get(self) -> None:
        """Whether it is there, or how it stands with a payment."""
        payment = self.sonet.payments.get(self.path.removeprefix("/payments/"))
        if payment is None:
            self.answer(HTTPStatus.OK if self.path == "/" else HTTPStatus.NOT_FOUND, b"{}")
        else:
            told = {name: getattr(payment, name) for name in ("status", "price", "number", "confirmations")}
            self.answer_json(HTTPStatus.OK, told)

    def put(self, wanted: Any) -> None:
        """Tests say how it behaves."""
        if not all(how in (WAYS_BACK if what == "way_back" else ANSWERS) for what, how in wanted.items()):
            self.answer(HTTPStatus.BAD_REQUEST)
            return
        self.sonet.behaviour |= wanted
        self.answer(HTTPStatus.NO_CONTENT)

    def post(self, body: bytes) -> None:
        """A merchant's servers, a browser, or a test."""
        if self.path == "/notify":
            self.answer_json(HTTPStatus.OK, self.sonet.notify(json.loads(body)))
            return
        form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        if self.path == "/microPaymentPost.php":
            self._act(form)
        elif self.path in ("/paymentRule.php", "/choose"):
            self._show(form)
        else:
            self.answer(HTTPStatus.NOT_FOUND)

    def _act(self, form: dict[str, str]) -> None:
        behaviour = self.sonet.behaviour.get(form.get("doAction", ""), "well")
        said = self.sonet.act(form)
        match behaviour:
            case "slow":
                time.sleep(SLOW_SECONDS)
            case "silent":  # it has heard, and does not say so
                time.sleep(SILENT_SECONDS)
            case "refused":
                said = {"resultCode": "90000", "resultMesg": "系統錯誤"}
            case "bars":
                said["resultMesg"] = "a|b"
            case "other_order":
                said["icpOrderId"] = "0" * 24
            case "other_price":
                said["price"] = "1"
            case _:
                pass
        line = f"{'|'.join(said)}\t{'|'.join(said.values())}\r\n".encode()
        if behaviour == "page":
            self._page(HTTPStatus.OK, "<p>Out of order</p>")
        elif behaviour == "broken":
            self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, line)
        else:
            self.answer(HTTPStatus.OK, line * (2 if behaviour == "two_lines" else 1), "text/plain; charset=utf-8")

    def _show(self, form: dict[str, str]) -> None:
        payment = self.sonet.of_code(form.get("authCode", ""))
        if payment is None:
            self._page(HTTPStatus.NOT_FOUND, "<p>No such payment.</p>")
        elif self.path == "/choose":
            self._leave(payment, form.get("choice", ""))
        elif {name: form.get(name) for name in ORDER_FIELDS} != payment.fields or form.get("icpId") != MERCHANT:
            self._page(HTTPStatus.BAD_REQUEST, "<p>This is not what was announced.</p>")
        else:
            what = html.escape(f"{payment.fields['icpProdId']}, NT${payment.price}")
            buttons = "".join(f'<button name="choice" value="{one}">{one}</button> ' for one in ("pay", "cancel"))
            inner = f"<p>{what}</p>{_hidden({'authCode': payment.auth_code})}{buttons}"
            self._page(HTTPStatus.OK, f'<form method="post" action="/choose">{inner}</form>')

    def _leave(self, payment: Payment, choice: str) -> None:
        self.sonet.choose(payment, choice)
        way = self.sonet.behaviour.get("way_back", "browser")
        if "notice" in way:
            self.sonet.notify({"icpOrderId": payment.fields["icpOrderId"]})
        if "browser" not in way:
            self._page(HTTPStatus.OK, "<p>This page leads nowhere.</p>")
            return
        form = f'<form method="post" action="{html.escape(payment.return_url)}">{_hidden(self.sonet.says(payment))}'
        script = "<script>document.forms[0].submit()</script>"
        self._page(HTTPStatus.OK, f"{form}<button>Back to the shop</button></form>{script}")

    def _page(self, status: HTTPStatus, inner: str) -> None:
        self.page(status, "So-net, with nobody's money", inner)


def _hidden(fields: dict[str, str]) -> str:
    return "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )


if __name__ == "__main__":
    server(int(sys.argv[1]), *sys.argv[2:]).serve_forever()
