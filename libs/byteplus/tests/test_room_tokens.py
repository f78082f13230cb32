"""Room tokens are, byte for byte, those of the vendor's own code; whoever changes one is found out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byteplus.room_tokens import PUBLISH, VERSION, Privilege, RoomToken, RoomTokenError, read, sign

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "room_tokens.json").read_text("utf-8"))
KEY = "fakeAppKey0123456789fakeAppKey01"
NUMBERS = st.integers(0, 2**32 - 1)
NAMES = st.text(max_size=30).filter(lambda name: name.encode(errors="replace").decode() == name)
TOKENS = st.builds(
    RoomToken,
    app_id=st.text("0123456789abcdef", min_size=24, max_size=24),
    room_id=NAMES,
    user_id=NAMES,
    issued_at=NUMBERS,
    expire_at=NUMBERS,
    nonce=NUMBERS,
    privileges=st.dictionaries(st.integers(0, 2**16 - 1), NUMBERS, max_size=8),
)


def token_of(vector: dict[str, Any]) -> RoomToken:
    names = ("app_id", "room_id", "user_id", "issued_at", "expire_at", "nonce")
    privileges = {int(privilege): expire_at for privilege, expire_at in vector["privileges"].items()}
    return RoomToken(**{name: vector[name] for name in names}, privileges=privileges)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_token_is_the_vendors(vector: dict[str, Any]) -> None:
    assert sign(token_of(vector), vector["app_key"]) == vector["token"]
    assert read(vector["token"], vector["app_key"]) == token_of(vector)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_to_publish_is_four_privileges(vector: dict[str, Any]) -> None:
    granted: dict[int, int] = {}
    for privilege, expire_at in vector["add_privilege_calls"]:
        added = PUBLISH if privilege == Privilege.PUBLISH_STREAM else (privilege,)
        granted |= dict.fromkeys(added, expire_at)

    assert granted == token_of(vector).privileges


@given(TOKENS)
def test_what_was_signed_reads_back(token: RoomToken) -> None:
    assert read(sign(token, KEY), KEY) == token


@given(TOKENS, st.data())
def test_a_changed_or_cut_token_is_refused(token: RoomToken, data: st.DataObject) -> None:
    text = sign(token, KEY)
    start = len(VERSION) + len(token.app_id)  # the app's id is not signed
    at = data.draw(st.integers(start, len(text) - 1))
    changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]

    for forged in (changed, text[:at]):
        try:
            same = read(forged, KEY)
        except RoomTokenError:
            continue
        assert same == token  # the last letter of base64 has bits that mean nothing
        assert at >= len(text.rstrip("=")) - 1


def test_another_key_is_refused() -> None:
    with pytest.raises(RoomTokenError, match="another key"):
        read(VECTORS[0]["token"], "another key")


@pytest.mark.parametrize(
    "text", ["", "001", "002" + "0" * 24, "001" + "0" * 24 + "!", "001" + "0" * 24 + "AAAA", "ü" * 40]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(RoomTokenError):
        read(text, KEY)


def test_an_app_id_has_24_characters() -> None:
    with pytest.raises(ValueError, match="24 characters"):
        sign(replace(token_of(VECTORS[0]), app_id="short"), KEY)
