"""The external wallet of the stack: it makes an account for who may, once, and fails as it is told."""

import json
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from devstack import services, wallet
from devstack.settings import Settings
from devstack.stack import Stack

USER = "0123456789abcdef01234567"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with Stack(tmp_path_factory.mktemp("wallet"), only=("wallet",)) as stack:
        url = f"http://127.0.0.1:{stack.settings.port('wallet')}"
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            yield client


def bearer(user_id: str, **changes: Any) -> dict[str, str]:
    now = int(time.time())
    claims = {"aud": wallet.AUDIENCE, "sub": user_id, "iat": now, "exp": now + 60, "scopes": [wallet.SCOPE]}
    return {"authorization": f"Bearer {jwt.encode(claims | changes, wallet.KEY)}"}


def create(client: httpx.Client, user_id: str, headers: dict[str, str]) -> httpx.Response:
    return client.post("/1/account", content=json.dumps({"user_id": user_id}), headers=headers)


def test_an_account_is_made_once(client: httpx.Client) -> None:
    answers = [create(client, USER, bearer(USER)) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [HTTPStatus.CREATED, HTTPStatus.OK, HTTPStatus.OK]
    assert len({answer.json()["account_id"] for answer in answers}) == 1
    assert client.get(f"/accounts/{USER}").json() == {**answers[0].json(), "asked": 3}


def test_nobody_makes_one_without_a_token_for_it(client: httpx.Client) -> None:
    other = USER[::-1]

    said = [
        create(client, other, headers).status_code
        for headers in ({}, bearer(USER), bearer(other, scopes=["account:read"]), bearer(other, aud="shop"))
    ]

    assert said == [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED]
    assert client.get(f"/accounts/{other}").json() == {"account_id": None, "asked": 0}


@pytest.mark.parametrize(
    ("how", "status", "there"),
    [("broken", HTTPStatus.INTERNAL_SERVER_ERROR, False), ("lost", HTTPStatus.BAD_GATEWAY, True)],
)
def test_it_fails_as_it_is_told(client: httpx.Client, how: str, status: int, there: bool) -> None:  # noqa: FBT001 - a row of the table
    user = f"{len(how):024x}"
    assert client.put("/behaviour", content=json.dumps({"account": how})).is_success

    answer = create(client, user, bearer(user))

    assert client.put("/behaviour", content=json.dumps({"account": "well"})).is_success
    assert answer.status_code == status
    assert (client.get(f"/accounts/{user}").json()["account_id"] is not None) == there
    assert client.put("/behaviour", content=json.dumps({"account": "otherwise"})).is_client_error


def test_escrow_is_told_of_it_where_it_runs() -> None:
    plain, without = Settings(Path("/nowhere"), 20_000), Settings(Path("/nowhere"), 20_000, only=("escrow-api",))

    assert services.environment(plain, "escrow")["WALLET_API_URL"] == f"http://127.0.0.1:{plain.port('wallet')}"
    assert services.environment(without, "escrow")["WALLET_API_URL"] == ""
