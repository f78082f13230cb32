"""A payment gateway in which nobody pays: `python -m devstack.sandbox PORT [HOST]`. What it holds is gone when it ends.

    POST /authorize  signed   {order_id, amount, currency, return_url, exp} → {authorization}
    POST /pay        browser  authorization, then choice=pay|cancel → the way back, as a form that posts itself
    POST /confirm    signed   {order_id} → {order_id, status: open|paid|cancelled, amount, currency, reference}
    POST /list       signed   {day, after} → {payments: [as /confirm], next}: paid on that day (UTC), 100 at a time
    PUT  /behaviour  tests    {confirm: well|broken|garbage|slow|unsigned}; or of one payment: {order_id, amount}

Bodies that are signed, both ways, have their HMAC-SHA256 in `x-sandbox-signature`.
"""

import hashlib
import hmac
import html
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs

from devstack import clock
from devstack.sandbox_http import LOOPBACK, SandboxHandler, listening

SECRET: Final = "demo-secret-of-the-sandbox-0123456789"  # noqa: S105 - a demo secret, accepted on local stacks only
SIGNATURE: Final = "x-sandbox-signature"
SLOW_SECONDS: Final = 2.0
LISTED_AT_ONCE: Final = 100


def sign(body: bytes) -> str:
    """What stands beside a body."""
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


@dataclass
class Sandbox:
    """What it knows: a payment for each order, and how it is to behave."""

    payments: dict[str, dict[str, Any]] = field(default_factory=dict)
    behaviour: dict[str, str] = field(default_factory=dict)
    confirmations: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def authorize(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Take a payment; asked again for the same order it is the same one."""
        with self.lock:
            payment = self.payments.setdefault(
                str(asked["order_id"]),
                {
                    "amount": int(asked["amount"]),
                    "currency": str(asked["currency"]),
                    "return_url": str(asked["return_url"]),
                    "exp": int(asked["exp"]),
                    "authorization": hashlib.sha256(str(asked["order_id"]).encode()).hexdigest()[:32],
                    "status": "open",
                },
            )
            return {"authorization": payment["authorization"]}

    def choose(self, authorization: str, choice: str) -> tuple[str, str] | None:
        """What the payer decides, once; where they go then, and what is said there. None: there is no such payment."""
        with self.lock:
            for payment in self.payments.values():
                if payment["authorization"] == authorization:
                    _end(payment)
                    if payment["status"] == "open" and choice in ("pay", "cancel"):
                        payment["status"] = {"pay": "paid", "cancel": "cancelled"}[choice]
                        payment["day"] = time.strftime("%Y-%m-%d", time.gmtime(clock.now()))
                    return payment["return_url"], "ok" if payment["status"] == "paid" else "cancelled"
        return None

    def confirm(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """How it stands with an order's payment."""
        with self.lock:
            self.confirmations += 1
            payment = self.payments.get(str(asked["order_id"]))
            if payment is None:
                return None
            _end(payment)
            return _standing(str(asked["order_id"]), payment)

    def listed(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What was paid on a day, from behind an order on."""
        after = str(asked.get("after") or "")
        with self.lock:
            paid = sorted(
                order_id
                for order_id, payment in self.payments.items()
                if payment["status"] == "paid" and payment.get("day") == asked["day"] and order_id > after
            )
            part = paid[:LISTED_AT_ONCE]
            following = part[-1] if len(paid) > len(part) else None
            return {"payments": [_standing(order_id, self.payments[order_id]) for order_id in part], "next": following}

    def change(self, wanted: dict[str, Any]) -> None:
        """Behave otherwise from now on."""
        with self.lock:
            order_id = wanted.pop("order_id", None)
            if order_id is None:
                self.behaviour |= wanted
            else:
                self.payments[order_id] |= wanted


def _standing(order_id: str, payment: dict[str, Any]) -> dict[str, Any]:
    told = {name: payment[name] for name in ("status", "amount", "currency")}
    return {"order_id": order_id, "reference": f"sandbox-{payment['authorization']}", **told}


def _end(payment: dict[str, Any]) -> None:
    """Who has not paid until its `exp` does not pay any more."""
    if payment["status"] == "open" and clock.now() >= payment["exp"]:
        payment["status"] = "cancelled"


def server(port: int, host: str = LOOPBACK) -> ThreadingHTTPServer:
    """The sandbox, listening; port 0 is any free one."""
    return listening(_Handler, (host, port), sandbox=Sandbox())


class _Handler(SandboxHandler):
    sandbox: Sandbox

    def get(self) -> None:
        """Whether it is there."""
        self.answer(HTTPStatus.OK, b'{"sandbox": true}')

    def put(self, wanted: Any) -> None:
        """Tests say how it behaves."""
        self.sandbox.change(wanted)
        self.answer(HTTPStatus.NO_CONTENT)

    def post(self, body: bytes) -> None:
        """The gateway's own pages."""
        if self.path == "/pay":
            self._pay(parse_qs(body.decode(), keep_blank_values=True))
        elif not hmac.compare_digest(sign(body), self.headers.get(SIGNATURE, "")):
            self.answer(HTTPStatus.FORBIDDEN, b'{"error": "signature"}')
        elif self.path == "/authorize":
            self._signed_json(self.sandbox.authorize(json.loads(body)))
        elif self.path == "/confirm":
            self._confirm(self.sandbox.confirm(json.loads(body)))
        elif self.path == "/list":
            self._signed_json(self.sandbox.listed(json.loads(body)))
        else:
            self.answer(HTTPStatus.NOT_FOUND, b"{}")

    def _confirm(self, answer: dict[str, Any] | None) -> None:
        behaviour = self.sandbox.behaviour.get("confirm", "well")
        if behaviour == "slow":
            time.sleep(SLOW_SECONDS)
        if behaviour == "broken":
            self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"<html>out of order</html>")
        elif behaviour == "garbage":
            self._signed(b'{"status": "paid"')
        elif answer is None:
            self.answer(HTTPStatus.NOT_FOUND, b"{}")
        elif behaviour == "unsigned":
            self.answer_json(HTTPStatus.OK, answer)
        else:
            self._signed_json(answer)

    def _pay(self, form: dict[str, list[str]]) -> None:
        authorization, choice = (form.get(name, [""])[0] for name in ("authorization", "choice"))
        back = self.sandbox.choose(authorization, choice)
        if back is None:
            self._page(HTTPStatus.NOT_FOUND, "<p>No such payment.</p>")
        elif choice not in ("pay", "cancel"):
            hidden = f'<input type="hidden" name="authorization" value="{html.escape(authorization)}">'
            buttons = "".join(f'<button name="choice" value="{one}">{one}</button>' for one in ("pay", "cancel"))
            self._page(HTTPStatus.OK, f'<form method="post" action="/pay">{hidden}{buttons}</form>')
        else:
            url, result = (html.escape(text) for text in back)
            form_ = f'<form method="post" action="{url}"><input type="hidden" name="result" value="{result}">'
            self._page(HTTPStatus.OK, f"{form_}<button>Back to the shop</button></form>")

    def _page(self, status: HTTPStatus, inner: str) -> None:
        self.page(status, "Sandbox", inner)

    def _signed_json(self, said: Any) -> None:
        self._signed(json.dumps(said).encode())

    def _signed(self, body: bytes) -> None:
        self.answer(HTTPStatus.OK, body, **{SIGNATURE: sign(body)})


if __name__ == "__main__":
    server(int(sys.argv[1]), *sys.argv[2:]).serve_forever()
