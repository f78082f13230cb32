"""Access tokens: what is believed, and that nothing else ever is, and never by a 500 (pitfalls §4.1)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from prometheus_client import REGISTRY
from pydantic import ValidationError

from chassis.clock import ManualClock
from chassis.http import auth, token_keys
from chassis.http.auth import Caller, Tokens
from chassis.http.problems import TokenInvalid, TokenMissing
from chassis.http.request_context import request_context
from chassis.runtime.settings import ApiSettings

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
    settings = ApiSettings(mongo_url="mongodb://unused", jwt_keys=keys or KEYS)  # type: ignore[arg-type] # pydantic reads it
    return Tokens(settings, clock)


@pytest.fixture
def caller(clock: ManualClock) -> Callable[[str | bytes], Caller]:
    tokens = tokens_of(clock)

    def read(token: str | bytes) -> Caller:
        raw = token.encode() if isinstance(token, str) else token
        return tokens.caller(b"Bearer " + raw, request_context({}))

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
        tokens.caller(b"bearer " + signed(kid="rs", key=RSA_KEY, alg="RS256").encode(), request_context({})).user_id
        == USER
    )


def test_a_token_may_name_no_key_only_if_there_is_one(clock: ManualClock, caller: Callable[[str], Caller]) -> None:
    without = signed(kid=None)

    assert (
        tokens_of(clock, {"hs": KEYS["hs"]}).caller(b"Bearer " + without.encode(), request_context({})).user_id == USER
    )
    with pytest.raises(TokenInvalid):
        caller(without)


@pytest.mark.parametrize("prefix", [b"Bearer  ", b"bEARER ", b"Bearer     "])
def test_any_number_of_blanks_may_part_scheme_and_token(clock: ManualClock, prefix: bytes) -> None:
    assert tokens_of(clock).caller(prefix + signed().encode(), request_context({})).user_id == USER


@pytest.mark.parametrize("header", [None, b"", b"Basic dTpw", b"Token x", b"Bearertoken"])
def test_no_bearer_token_is_a_missing_one(clock: ManualClock, header: bytes | None) -> None:
    with pytest.raises(TokenMissing):
        tokens_of(clock).caller(header, request_context({}))


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
        tokens.caller(b"Bearer " + signed(jti=str(number)).encode(), request_context({}))

    assert len(tokens._verified) == 2  # noqa: SLF001 - a limit cannot be seen from outside


# -- keys in a file ----------------------------------------------------------------------------------------------------

NEW_SECRET = "another-secret-of-thirty-two-bytes-or-more"
OLD, NEW = {"hs": KEYS["hs"]}, {"new": {"alg": "HS256", "key": NEW_SECRET}}


@dataclass
class KeysFile:
    """A process whose keys are in a file, and its clock."""

    path: Path
    clock: ManualClock
    tokens: Tokens

    def write(self, content: str | bytes) -> None:
        """Put something else into the file, and let the process look."""
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.clock.advance(token_keys.CACHED_SECONDS)

    def accepts(self, token: str) -> bool:
        try:
            return self.tokens.caller(b"Bearer " + token.encode(), request_context({})).user_id == USER
        except TokenInvalid:
            return False


@pytest.fixture
def keys_file(clock: ManualClock, tmp_path: Path) -> KeysFile:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(OLD))
    settings = ApiSettings.model_validate({"mongo_url": "mongodb://unused", "jwt_keys_file": path})
    return KeysFile(path, clock, Tokens(settings, clock))


def test_a_key_is_rotated_in_its_file_and_nobody_restarts(keys_file: KeysFile) -> None:
    old, new = signed(), signed(kid="new", key=NEW_SECRET)
    assert (keys_file.accepts(old), keys_file.accepts(new)) == (True, False)

    keys_file.write(json.dumps(OLD | NEW))
    assert (keys_file.accepts(old), keys_file.accepts(new)) == (True, True)

    keys_file.write(json.dumps(NEW))
    assert (keys_file.accepts(old), keys_file.accepts(new)) == (False, True)  # though it was remembered as verified


def test_another_key_under_the_same_name_ends_the_tokens_of_the_one_before(keys_file: KeysFile) -> None:
    assert keys_file.accepts(signed())

    keys_file.write(json.dumps({"hs": NEW["new"]}))

    assert not keys_file.accepts(signed())
    assert keys_file.accepts(signed(key=NEW_SECRET))


@pytest.mark.parametrize(
    "content",
    ["", "{", "{}", b"\xff", json.dumps({"hs": {"alg": "HS256", "key": "short"}}), json.dumps(NEW)[:-3]],
)
def test_a_file_that_would_be_refused_at_start_changes_nothing_and_calls_for_help(
    keys_file: KeysFile, content: str | bytes
) -> None:
    keys_file.write(content)

    assert keys_file.accepts(signed())
    assert REGISTRY.get_sample_value("token_keys_unreadable") == 1

    keys_file.write(json.dumps(NEW))
    assert not keys_file.accepts(signed())
    assert REGISTRY.get_sample_value("token_keys_unreadable") == 0


def test_a_file_that_is_gone_changes_nothing(keys_file: KeysFile) -> None:
    keys_file.path.unlink()
    keys_file.clock.advance(token_keys.CACHED_SECONDS)

    assert keys_file.accepts(signed())


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"hs": {"alg": "HS256", "key": "hush"}}), None])
def test_nobody_starts_with_a_file_without_good_keys(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ValidationError, match="JWT_KEYS_FILE") as refused:
        ApiSettings.model_validate({"mongo_url": "mongodb://unused", "jwt_keys_file": path})

    assert "hush" not in str(refused.value)


def test_nobody_starts_without_keys() -> None:
    with pytest.raises(ValidationError, match="JWT_KEYS"):
        ApiSettings.model_validate({"mongo_url": "mongodb://unused"})
