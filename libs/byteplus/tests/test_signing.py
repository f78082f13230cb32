"""Requests are signed as the vendor's own libraries sign them: header for header, byte for byte."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from byteplus.signing import Credentials, Request, canonical_request, sign, signing_key, string_to_sign

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "signing.json").read_text("utf-8"))


def credentials_of(vector: dict[str, Any]) -> Credentials:
    return Credentials(vector["ak"], vector["sk"], vector["region"], vector["service"], vector["session_token"])


def signed(vector: dict[str, Any], **changes: Any) -> dict[str, str]:
    request = {
        "method": vector["method"],
        "host": vector["host"],
        "query": vector["query"],
        "body": vector["body"].encode(),
        "headers": vector["headers"],
        "path": vector["path"],
        **changes,
    }
    now = datetime.strptime(vector["x_date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return sign(Request(**request), credentials_of(vector), now)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_request_is_signed_as_the_vendors_libraries_do(vector: dict[str, Any]) -> None:
    headers = signed(vector)

    assert headers["Authorization"] == vector["Authorization"]
    assert headers["X-Content-Sha256"] == vector["X-Content-Sha256"]
    assert headers["X-Date"] == vector["x_date"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_each_step_is_the_vendors(vector: dict[str, Any]) -> None:
    headers = signed(vector)
    names = headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = Request(vector["method"], vector["host"], vector["query"], vector["body"].encode())
    canonical = canonical_request(request, headers, names)
    scope = f"{vector['x_date'][:8]}/{vector['region']}/{vector['service']}/request"

    assert canonical == vector["canonical_request"]
    assert string_to_sign(canonical, vector["x_date"], scope) == vector["string_to_sign"]
    assert signing_key(credentials_of(vector), vector["x_date"][:8]).hex() == vector["signing_key_hex"]


@pytest.mark.parametrize("port", [":80", ":443"])
def test_a_usual_port_is_no_part_of_the_host(port: str) -> None:
    vector = VECTORS[0]

    assert signed(vector, host=vector["host"] + port)["Authorization"] == vector["Authorization"]


def test_another_port_is_part_of_the_host() -> None:
    headers = signed(VECTORS[0], host="127.0.0.1:8443")

    assert headers["Host"] == "127.0.0.1:8443"


def test_every_byte_counts() -> None:
    vector = VECTORS[0]
    others = [
        signed(vector, body=vector["body"].encode() + b" "),
        signed(vector, query={**vector["query"], "Version": "2023-11-01"}),
        signed(vector, headers={**vector["headers"], "X-Extra": "1"}),
        signed(vector, method="GET"),
    ]

    assert vector["Authorization"] not in {headers["Authorization"] for headers in others}


def test_the_secrets_stand_in_no_log() -> None:
    credentials = credentials_of(VECTORS[-1])

    assert credentials.secret_key not in repr(credentials)
    assert credentials.session_token not in repr(credentials)
