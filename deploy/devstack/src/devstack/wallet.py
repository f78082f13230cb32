"""An external wallet without money: `python -m devstack.wallet PORT [HOST]`. It forgets all at its end.

    POST /1/account           merchant     {user_id}, with a token for it → 201 {account_id}, again: 200 and the same
    PUT  /behaviour           tests        {account: a name in ANSWERS}
    GET  /accounts/{user_id}  tests        {account_id, asked}: null before it was made; how often it was asked for

A token is a JWT under `KEY` (HS256, `aud` wallet) with the scope `account:create`, for its `sub` alone, a minute long.
"""

import hashlib
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any, Final

import jwt

from devstack.sandbox_http import LOOPBACK, SandboxHandler, listening

KEY: Final = "demo-key-of-the-wallet-0123456789-0123456789"
AUDIENCE: Final = "wallet"
SCOPE: Final = "account:create"
TOKEN_SECONDS_MAX: Final = 60
SLOW_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 60.0
ANSWERS: Final = ("well", "slow", "silent", "broken", "lost", "conflict")
"""`lost` makes the account and says that it broke; `conflict` is how another one says that it has it already."""


@dataclass
class Wallet:
    """Whose accounts there are, how often each was asked for, and how it is to behave."""

    accounts: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    behaviour: str = "well"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def create(self, user_id: str) -> tuple[HTTPStatus, dict[str, Any]]:
        """An account for each user, once."""
        with self.lock:
            self.asked[user_id] += 1
            if self.behaviour == "broken":
                return HTTPStatus.INTERNAL_SERVER_ERROR, {}
            there = user_id in self.accounts
            self.accounts.setdefault(user_id, hashlib.sha256(user_id.encode()).hexdigest()[:16])
            if self.behaviour == "lost":
                return HTTPStatus.BAD_GATEWAY, {}
            if there and self.behaviour == "conflict":
                return HTTPStatus.CONFLICT, {}
            return HTTPStatus.OK if there else HTTPStatus.CREATED, {"account_id": self.accounts[user_id]}

    def shown(self, user_id: str) -> dict[str, Any]:
        """What tests look at."""
        with self.lock:
            return {"account_id": self.accounts.get(user_id), "asked": self.asked[user_id]}


def may_create(header: str, user_id: str) -> HTTPStatus | None:
    """Why this token makes no account of this user; None: it does."""
    try:
        claims = jwt.decode(
            header.removeprefix("Bearer "),
            KEY,
            algorithms=["HS256"],
            audience=AUDIENCE,
            options={"require": ["aud", "sub", "iat", "exp"], "verify_iat": False},  # tests own the merchant's clock
        )
    except jwt.PyJWTError:
        return HTTPStatus.UNAUTHORIZED
    if claims["exp"] - claims["iat"] > TOKEN_SECONDS_MAX:
        return HTTPStatus.UNAUTHORIZED
    return None if SCOPE in claims.get("scopes", ()) and claims["sub"] == user_id else HTTPStatus.FORBIDDEN


def server(port: int, host: str = LOOPBACK) -> ThreadingHTTPServer:
    """The wallet, listening; port 0 is any free one."""
    return listening(_Handler, (host, port), wallet=Wallet())


class _Handler(SandboxHandler):
    wallet: Wallet

    def get(self) -> None:
        """Whether it is there, and what it has."""
        _, _, user_id = self.path.partition("/accounts/")
        self.answer_json(HTTPStatus.OK, self.wallet.shown(user_id) if user_id else {"wallet": True})

    def put(self, wanted: Any) -> None:
        """Tests say how it behaves."""
        is_known = wanted["account"] in ANSWERS
        if is_known:
            self.wallet.behaviour = wanted["account"]
        self.answer_json(HTTPStatus.OK if is_known else HTTPStatus.BAD_REQUEST, {})

    def post(self, body: bytes) -> None:
        """Make an account."""
        if self.path != "/1/account":
            self.answer_json(HTTPStatus.NOT_FOUND, {})
            return
        user_id = str(json.loads(body).get("user_id"))
        refused = may_create(self.headers.get("authorization", ""), user_id)
        if refused is not None:
            self.answer_json(refused, {})
            return
        time.sleep({"slow": SLOW_SECONDS, "silent": SILENT_SECONDS}.get(self.wallet.behaviour, 0))
        self.answer_json(*self.wallet.create(user_id))


if __name__ == "__main__":
    server(int(sys.argv[1]), *sys.argv[2:]).serve_forever()
