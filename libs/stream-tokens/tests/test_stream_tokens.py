"""Both tokens say who may watch what, live no longer than that, and are taken for nothing else."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from byteplus import room_tokens
from byteplus.room_tokens import Privilege
from chassis.clock import ManualClock
from chassis.http.auth import Tokens
from chassis.http.problems import TokenInvalid
from chassis.http.request_context import RequestContext
from chassis.runtime.settings import ApiSettings
from chassis_testing.service import DEMO, access_token
from stream_tokens import Admission, StreamTokenInvalid, StreamTokenSettings, mint, read
from stream_tokens.minting import AUDIENCE

NOW = datetime(2026, 11, 27, 20, 0, 0, 700_000, tzinfo=UTC)
UNIX = int(NOW.timestamp())
VIEWER, SESSION, JTI = "a" * 24, "b" * 24, "0123456789abcdef0badcafe"
SECRET = "not-a-published-key-but-long-enough-for-hs256"
APP_KEY = "0f" * 16
ANY_TIME: Any = {"verify_exp": False, "verify_nbf": False}
IN_A_ROOM = Admission(VIEWER, SESSION, "sd", "room-1")


def made(**changes: Any) -> StreamTokenSettings:
    given: dict[str, Any] = {
        "stream_token_keys": {"s1": {"alg": "HS256", "key": SECRET}},
        "byteplus_app_id": "0123456789abcdef01234567",
        "byteplus_app_key": APP_KEY,
    }
    return StreamTokenSettings(**given | changes)


def test_the_stream_token_says_who_may_watch_what() -> None:
    minted = mint(IN_A_ROOM, made(), NOW, JTI)

    said = read(minted.token, made(), NOW)

    assert said.model_dump() == {
        "sub": VIEWER, "session_id": SESSION, "preset": "sd", "room": "room-1",
        "nbf": UNIX, "exp": UNIX + 120, "jti": JTI,
    }  # fmt: skip


def test_the_room_token_opens_its_room_to_its_user_and_shows_nothing_there() -> None:
    minted = mint(IN_A_ROOM, made(), NOW, JTI)

    assert minted.byteplus_token is not None
    token = room_tokens.read(minted.byteplus_token, APP_KEY)
    assert (token.app_id, token.room_id, token.user_id) == ("0123456789abcdef01234567", "room-1", VIEWER)
    assert (token.issued_at, token.expire_at, token.nonce) == (UNIX, UNIX + 120, 0x0BADCAFE)
    assert token.privileges == {Privilege.SUBSCRIBE_STREAM: UNIX + 120}


def test_who_may_publish_can_do_both() -> None:
    minted = mint(Admission(VIEWER, SESSION, "sd", "room-1", may_publish=True), made(), NOW, JTI)

    assert minted.byteplus_token is not None
    assert set(room_tokens.read(minted.byteplus_token, APP_KEY).privileges) == set(Privilege)


def test_without_a_room_there_is_no_room_token() -> None:
    minted = mint(Admission(VIEWER, SESSION, "preview"), made(), NOW, JTI)

    assert (minted.byteplus, minted.byteplus_token) == (None, None)
    assert read(minted.token, made(), NOW).room is None


@pytest.mark.parametrize(("left", "lives"), [(500, 120), (120.29, 120), (119.9, 120), (60.4, 61), (0.4, 1), (0.2, 0)])
def test_neither_token_outlives_the_permission(left: float, lives: int) -> None:
    until = NOW + timedelta(seconds=left)

    minted = mint(Admission(VIEWER, SESSION, "sd", "room-1", until), made(), NOW, JTI)

    assert minted.exp == UNIX + lives
    assert minted.exp <= until.timestamp()
    assert minted.byteplus_token is not None
    assert room_tokens.read(minted.byteplus_token, APP_KEY).expire_at == minted.exp


def test_a_token_is_of_no_use_after_its_end() -> None:
    token = mint(IN_A_ROOM, made(), NOW, JTI).token

    read(token, made(), NOW + timedelta(seconds=119))
    with pytest.raises(StreamTokenInvalid):
        read(token, made(), NOW + timedelta(seconds=120))


def test_life_is_a_setting() -> None:
    assert mint(IN_A_ROOM, made(token_max_seconds=5), NOW, JTI).exp == UNIX + 5


def test_an_older_key_still_verifies_and_only_the_first_signs() -> None:
    old = mint(IN_A_ROOM, made(), NOW, JTI).token
    both = made(stream_token_keys={"s2": {"alg": "HS256", "key": SECRET[::-1]}, "s1": {"alg": "HS256", "key": SECRET}})

    assert read(old, both, NOW).sub == VIEWER
    assert jwt.get_unverified_header(mint(IN_A_ROOM, both, NOW, JTI).token)["kid"] == "s2"


def test_keys_of_es256_sign_and_their_public_half_verifies_alone() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    token = mint(IN_A_ROOM, made(stream_token_keys={"e": {"alg": "ES256", "key": pem}}), NOW, JTI).token

    assert jwt.decode(token, public, algorithms=["ES256"], audience=AUDIENCE, options=ANY_TIME)
    with pytest.raises(ValidationError, match="no private key"):
        made(stream_token_keys={"e": {"alg": "ES256", "key": public.decode()}})


def test_a_stream_token_is_no_access_token_even_under_the_same_key() -> None:
    same = {"stream_token_keys": DEMO["jwt_keys"], "devstack": True}
    stream_token = mint(IN_A_ROOM, made(**same), NOW, JTI).token
    gate = Tokens(ApiSettings(**DEMO), ManualClock(NOW))
    context = RequestContext("r" * 24, "c" * 24, None, None)

    assert gate.caller(f"Bearer {access_token(VIEWER)}".encode(), context).user_id == VIEWER
    with pytest.raises(TokenInvalid):
        gate.caller(f"Bearer {stream_token}".encode(), context)
    with pytest.raises(StreamTokenInvalid):
        read(access_token(VIEWER), made(**same), NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "footlights"},
        {"iss": "somebody"},
        {"preset": "hd"},
        {"sub": "me"},
        {"nbf": UNIX + 60},
        {"exp": UNIX},
        {"exp": None},
    ],
)
def test_a_token_of_another_make_is_refused(change: dict[str, Any]) -> None:
    claims = jwt.decode(mint(IN_A_ROOM, made(), NOW, JTI).token, options={"verify_signature": False}) | change
    token = jwt.encode({k: v for k, v in claims.items() if v is not None or k == "room"}, SECRET, headers={"kid": "s1"})

    with pytest.raises(StreamTokenInvalid):
        read(token, made(), NOW)


@pytest.mark.parametrize("text", ["", "a.b.c", "x" * 10_000, f"{jwt.encode({}, '', algorithm='none')}"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(StreamTokenInvalid):
        read(text, made(), NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"stream_token_keys": {}},
        {"stream_token_keys": {"s1": {"alg": "HS256", "key": "short"}}},
        {"stream_token_keys": {"s1": {"alg": "HS256", "key": "Demo-key-of-at-least-thirty-two-bytes"}}},
        {"byteplus_app_key": "demo-app-key-of-at-least-32-bytes"},
        {"byteplus_app_key": "short"},
        {"byteplus_app_id": "short"},
        {"token_max_seconds": 0},
        {"token_max_seconds": 86_400},
    ],
)
def test_what_cannot_be_safe_is_refused_at_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        made(**wrong)

    assert SECRET not in str(refused.value)
    assert APP_KEY not in str(refused.value)


def test_demo_keys_are_for_local_stacks() -> None:
    demo = {"stream_token_keys": json.loads('{"d": {"alg": "HS256", "key": "demo-key-of-at-least-thirty-two-bytes"}}')}

    assert made(**demo, devstack=True).signing_key[0] == "d"


def test_secrets_are_not_shown() -> None:
    assert SECRET not in repr(made())
    assert APP_KEY not in repr(made())
