"""Access tokens: what is believed, and that nothing else ever is, and never by a 500 (pitfalls §4.1)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from chassis.clock import ManualClock
from chassis.http import auth
from chassis.http.auth import Caller, Tokens
from chassis.http.origin import origin_of
from chassis.http.problems import TokenInvalid, TokenMissing
from chassis.settings import ChassisSettings

NOW = datetime(2026, 3, 1, tzinfo=UTC)
USER = "a" * 24
SECRET = "a-secret-of-at-least-thirty-two-bytes"
RSA_KEY = rsa.generate_private_key(65_537, 2_048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
RSA_PUBLIC = RSA_KEY.public_key().public_bytes(*PUBLIC).decode()
EC_PUBLIC = EC_KEY.public_key().public_bytes(*PUBLIC).decode()
RSA_PRIVATE = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
KEYS = {
    "hs": {"alg": "HS256", "key": SECRET},
    "rs": {"alg": "RS256", "key": RSA_PUBLIC},
    "es": {"alg": "ES256", "key": EC_PUBLIC},
}
CLAIMS: dict[str, Any] = {
    "iss": "footlights",
    "aud": "footlights",
    "sub": USER,
    "jti": "t1",
    "exp": int(NOW.timestamp()) + 900,
    "nbf": int(NOW.timestamp()),
    "iat": int(NOW.timestamp()),
    "scopes": ["CREATOR", "PAID"],
    "version": 1,
    "metadata": {"fingerprint": "f"},
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


def tokens_of(clock: ManualClock, keys: dict[str, Any] | None = None) -> Tokens:
    settings = ChassisSettings(mongo_url="mongodb://unused", jwt_keys=keys or KEYS)  # type: ignore[arg-type] # pydantic reads it
    return Tokens(settings, clock)


@pytest.fixture
def caller(clock: ManualClock) -> Callable[[str | bytes], Caller]:
    tokens = tokens_of(clock)

    def read(token: str | bytes) -> Caller:
        raw = token.encode() if isinstance(token, str) else token
        return tokens.caller(b"Bearer " + raw, origin_of({}))

    return read


def signed(*, kid: str | None = "hs", key: Any = SECRET, alg: str = "HS256", **changes: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm=alg, headers={"kid": kid} if kid is not None else {})


def by_hand(header: Any, payload: Any, key: bytes = SECRET.encode()) -> str:
    """A token whose parts need not be what a library would write."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    signing = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.new(key, signing, hashlib.sha256).digest()
    return (signing + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    ("kid", "key", "alg"), [("hs", SECRET, "HS256"), ("rs", RSA_KEY, "RS256"), ("es", EC_KEY, "ES256")]
)
def test_a_token_of_each_algorithm_names_its_user(
    caller: Callable[[str], Caller], kid: str, key: Any, alg: str
) -> None:
    found = caller(signed(kid=kid, key=key, alg=alg))

    assert (found.user_id, found.jti, found.version) == (USER, "t1", 1)
    assert found.scopes == {"CREATOR", "PAID"}
    assert found.expires_at == NOW + timedelta(seconds=900)


def test_a_private_key_verifies_too(clock: ManualClock) -> None:
    tokens = tokens_of(clock, {"rs": {"alg": "RS256", "key": RSA_PRIVATE}})

    assert (
        tokens.caller(b"bearer " + signed(kid="rs", key=RSA_KEY, alg="RS256").encode(), origin_of({})).user_id == USER
    )


def test_a_token_may_name_no_key_only_if_there_is_one(clock: ManualClock, caller: Callable[[str], Caller]) -> None:
    without = signed(kid=None)

    assert tokens_of(clock, {"hs": KEYS["hs"]}).caller(b"Bearer " + without.encode(), origin_of({})).user_id == USER
    with pytest.raises(TokenInvalid):
        caller(without)


@pytest.mark.parametrize("prefix", [b"Bearer  ", b"bEARER ", b"Bearer     "])
def test_any_number_of_blanks_may_part_scheme_and_token(clock: ManualClock, prefix: bytes) -> None:
    assert tokens_of(clock).caller(prefix + signed().encode(), origin_of({})).user_id == USER


@pytest.mark.parametrize("header", [None, b"", b"Basic dTpw", b"Token x", b"Bearertoken"])
def test_no_bearer_token_is_a_missing_one(clock: ManualClock, header: bytes | None) -> None:
    with pytest.raises(TokenMissing):
        tokens_of(clock).caller(header, origin_of({}))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone"},
        {"aud": "someone"},
        {"aud": ["someone", "else"]},
        {"aud": []},
        {"aud": 7},
        {"iss": None},
        {"aud": None},
        {"exp": None},
        {"sub": None},
        {"jti": None},
        {"jti": ""},
        {"jti": 5},
        {"sub": 5},
        {"sub": "a" * 23},
        {"sub": "A" * 24},
        {"sub": {"$ne": None}},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 10**30},
        {"exp": -1},
        {"exp": int(NOW.timestamp()) - 31},
        {"nbf": int(NOW.timestamp()) + 31},
        {"iat": int(NOW.timestamp()) + 31},
        {"nbf": "soon"},
        {"exp": int(NOW.timestamp()) + 86_401},
        {"exp": int(NOW.timestamp()) + 100 * 365 * 86_400},
        {"iat": None},
        {"scopes": "CREATOR"},
        {"scopes": {"CREATOR": True}},
        {"scopes": [1]},
        {"scopes": ["x"] * 65},
        {"version": []},
    ],
    ids=str,
)
def test_a_wrong_claim_is_refused(caller: Callable[[str], Caller], changes: dict[str, Any]) -> None:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}

    with pytest.raises(TokenInvalid):
        caller(by_hand({"alg": "HS256", "kid": "hs"}, claims))


@pytest.mark.parametrize(
    "changes",
    [{"exp": NOW.timestamp() - 29}, {"nbf": NOW.timestamp() + 29}, {"scopes": None}, {"exp": NOW.timestamp() + 86_400}],
)
def test_clocks_may_differ_by_half_a_minute(caller: Callable[[str], Caller], changes: dict[str, Any]) -> None:
    assert caller(signed(**changes)).user_id == USER


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "x" * 100_000,
        "é",
        signed() + "x",
        signed()[:-1],
        f"{signed()}.{signed()}",
        signed(key="another-secret-of-thirty-two-bytes!"),
        signed(kid="nobody"),
        signed(kid="../../etc/passwd"),
        signed(kid="rs"),
        signed(kid="hs", key=RSA_KEY, alg="RS256"),
        signed(kid="es", key=RSA_KEY, alg="RS256"),
        signed(key=SECRET * 2, alg="HS512"),
        jwt.encode(CLAIMS, "", algorithm="none", headers={"kid": "hs"}),
        jwt.encode(CLAIMS, "", algorithm="none"),
        by_hand({"alg": "none", "kid": "hs"}, CLAIMS),
        by_hand({"alg": "HS256", "kid": "rs"}, CLAIMS, RSA_PUBLIC.encode()),
        by_hand({"alg": "RS256", "kid": "rs"}, CLAIMS, RSA_PUBLIC.encode()),
        by_hand({"alg": ["HS256"], "kid": "hs"}, CLAIMS),
        by_hand({"alg": "HS256", "kid": ["hs"]}, CLAIMS),
        by_hand({"alg": "HS256", "kid": {"hs": 1}}, CLAIMS),
        by_hand({"alg": "HS256", "kid": 0}, CLAIMS),
        by_hand({"alg": "HS256", "kid": "hs", "crit": ["x"], "x": 1}, CLAIMS),
        by_hand({"alg": "HS256", "kid": "hs", "crit": "b64", "b64": False}, CLAIMS),
        by_hand({"alg": "HS256", "kid": "hs", "jku": "https://example.org"}, []),
        by_hand([], CLAIMS),
        by_hand(b"[" * 2_000, CLAIMS),
        by_hand({"alg": "HS256", "kid": "hs"}, b"[" * 2_000),
        by_hand({"alg": "HS256", "kid": "hs"}, b'{"exp": NaN}'),
        by_hand({"alg": "HS256", "kid": "hs"}, b'{"exp": 1e999}'),
        by_hand({"alg": "HS256", "kid": "hs"}, b"\xff\xfe"),
        by_hand({"alg": "HS256", "kid": "hs"}, b"null"),
    ],
    ids=lambda token: f"{len(token)}:{token[:24]}",
)
def test_what_is_no_token_of_ours_is_refused_and_breaks_nothing(caller: Callable[[str], Caller], token: str) -> None:
    with pytest.raises(TokenInvalid):
        caller(token)


def test_a_remembered_token_still_ends(clock: ManualClock, caller: Callable[[str], Caller]) -> None:
    token = signed()
    caller(token)

    clock.advance(900 + auth.LEEWAY_SECONDS - 1)
    assert caller(token).user_id == USER
    clock.advance(1)
    with pytest.raises(TokenInvalid):
        caller(token)


def test_only_so_many_tokens_are_remembered(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "VERIFIED_MAX", 2)
    tokens = tokens_of(clock)

    for number in range(5):
        tokens.caller(b"Bearer " + signed(jti=str(number)).encode(), origin_of({}))

    assert len(tokens._verified) == 2  # noqa: SLF001 - a limit cannot be seen from outside
