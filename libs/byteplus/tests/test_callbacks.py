"""The vendor's callbacks: who signed them, whichever way the nonce is spelt."""

import json
from typing import Any

import pytest

from byteplus import callbacks

SECRET = "fakeCallbackSecret"
FIELDS = {
    "EventType": "UserLeaveRoom",
    "EventData": '{"RoomId":"room-1","UserId":"user-1","DeviceType":"web",'
    '"Reason":"userLeave","Timestamp":1735787045000}',
    "EventTime": "2025-01-02T03:04:05Z",
    "EventId": "0f8fad5bd9cb469fa16570867728950e",
    "AppId": "0123456789abcdef01234567",
    "Version": "2020-12-01",
}
SIGNATURE = "26703fa04cab5bc5cfaf93754d696960c75c2813376c5634157c85e72e35835f"  # by the documented algorithm, elsewhere


def told(nonce_name: str = "Nonce", **changes: Any) -> bytes:
    return json.dumps({**FIELDS, nonce_name: "1234", "Signature": SIGNATURE, **changes}).encode()


def test_the_signature_is_the_documented_one() -> None:
    assert callbacks.sign(FIELDS, "1234", SECRET) == SIGNATURE


@pytest.mark.parametrize("nonce_name", ["Nonce", "Noce"])
def test_a_callback_is_read_however_the_nonce_is_spelt(nonce_name: str) -> None:
    callback = callbacks.read(told(nonce_name), SECRET)

    assert (callback.event_id, callback.event_type) == (FIELDS["EventId"], "UserLeaveRoom")
    assert callback.app_id == FIELDS["AppId"]
    assert callback.data["UserId"] == "user-1"


@pytest.mark.parametrize("name", [*FIELDS, "Nonce"])
def test_every_field_is_signed(name: str) -> None:
    with pytest.raises(callbacks.CallbackError, match="somebody else"):
        callbacks.read(told(**{name: "something else"}), SECRET)


@pytest.mark.parametrize("name", [*FIELDS, "Nonce", "Signature"])
@pytest.mark.parametrize("value", [None, 7, ["1234"], {}])
def test_a_field_that_is_no_text_is_refused(name: str, value: Any) -> None:
    with pytest.raises(callbacks.CallbackError, match="not a callback"):
        callbacks.read(told(**{name: value}), SECRET)


@pytest.mark.parametrize("signature", ["", "é", SIGNATURE.upper(), SIGNATURE[:-1], SIGNATURE + "0"])
def test_another_signature_is_refused(signature: str) -> None:
    with pytest.raises(callbacks.CallbackError):
        callbacks.read(told(Signature=signature), SECRET)


def test_another_secret_is_refused() -> None:
    with pytest.raises(callbacks.NotSigned):
        callbacks.read(told(), "another", "a third")


def test_any_of_several_secrets_will_do() -> None:
    assert callbacks.read(told(), "the next one", SECRET).event_id == FIELDS["EventId"]


@pytest.mark.parametrize("id_", ["", "\ud800", "x" * (callbacks.EVENT_ID_MAX + 1)])
def test_an_id_that_cannot_be_kept_is_refused_though_it_is_signed(id_: str) -> None:
    body = told(EventId=id_, Signature=callbacks.sign({**FIELDS, "EventId": id_}, "1234", SECRET))

    with pytest.raises(callbacks.CallbackError, match="its id"):
        callbacks.read(body, SECRET)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"7", b"\xff", b"{", b"{}", b" " * callbacks.BODY_BYTES_MAX, b"[" * 50_000]
)
def test_what_is_no_callback_is_refused(body: bytes) -> None:
    with pytest.raises(callbacks.CallbackError):
        callbacks.read(body, SECRET)


@pytest.mark.parametrize("data", ["", "{", "[]", "7", '"text"'])
def test_data_that_is_no_object_is_refused_though_it_is_signed(data: str) -> None:
    fields = {**FIELDS, "EventData": data}
    body = told(EventData=data, Signature=callbacks.sign(fields, "1234", SECRET))

    with pytest.raises(callbacks.CallbackError, match="its data"):
        callbacks.read(body, SECRET)


@pytest.mark.parametrize("text", ["\ud800", "\U0001f600"])
def test_any_text_can_be_checked(text: str) -> None:
    with pytest.raises(callbacks.CallbackError):
        callbacks.read(told(EventTime=text, Signature=text), SECRET)
