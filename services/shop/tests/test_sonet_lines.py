"""What is sent to So-net to the letter, as the first design notes show it; and how strictly its answers are read."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shop.domain.orders import Hint, Order, OrderItem
from shop.domain.payments import AuthorizePayment, Unknown, authorize
from shop.gateway import sonet
from shop.gateway.sonet_lines import BYTES_MAX, NAMES, read
from shop.settings import SONET_API, SONET_PAGE, ShopSettings

ORDER_ID, USER_ID = "67ff4ac855034a533a094088", "67ff21fdb2535a8b5301708f"
CODE = "0123456789abcdef" * 2
REAL: dict[str, Any] = {
    "payment_gateways": ["sonet"],
    "public_origin": "https://footlights.example",
    "checkout_state_key": "a-key-of-checkouts-of-at-least-32-bytes",
    "sonet_merchant_id": "planckpay",
}
SETTINGS = ShopSettings(**REAL)


def order(amount: int = 29_900, currency: str = "TWD") -> Order:
    item = OrderItem(
        item_id="1", product_id="diamond_29900", subtype="DiamondPackProduct", quantity=1, amount=amount, diamonds=1_000
    )
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Order(
        id=ORDER_ID, user_id=USER_ID, items=(item,), amount=amount, currency=currency, gateway="sonet", created=now,
        exp=now + timedelta(minutes=30), authorization=CODE,
    )  # fmt: skip


def announced(of: Order) -> dict[str, str]:
    effect = authorize(of, "https://footlights.example/notify/sonet?state=x").effect
    assert isinstance(effect, AuthorizePayment)
    return sonet.order_fields(effect, SETTINGS)


def test_the_browser_carries_what_the_notes_show() -> None:
    form = sonet.Sonet().form(order(), CODE, SETTINGS)

    assert f"{form.origin}{form.path}" == "https://mpay.so-net.net.tw/paymentRule.php"
    assert form.fields == {
        "icpId": "planckpay",
        "icpOrderId": "67ff4ac855034a533a094088",
        "icpProdId": "diamond_29900",
        "mpId": "GASH_GPAY",
        "memo": "Order 67ff4ac855034a533a094088",
        "icpUserId": "67ff21fdb2535a8b5301708f",
        "authCode": CODE,
    }


def test_the_price_is_announced_in_whole_dollars() -> None:
    """An order of the notes has `price: 29900`, in cents."""
    fields = announced(order())

    assert (fields["price"], fields["mpId"], fields["icpOrderId"]) == ("299", "GASH_GPAY", ORDER_ID)
    assert fields["returnUrl"] == "https://footlights.example/notify/sonet?state=x"


@pytest.mark.parametrize(("amount", "currency"), [(29_901, "TWD"), (99, "TWD"), (29_900, "USD")])
def test_what_so_net_could_not_be_told_is_not_announced(amount: int, currency: str) -> None:
    with pytest.raises(Unknown):
        announced(order(amount, currency))


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\r"])
def test_a_line_is_read(ending: bytes) -> None:
    body = f"resultCode|resultMesg|authCode\t00000|成功 ok|{CODE}".encode() + ending

    assert read(body) == {"resultCode": "00000", "resultMesg": "成功 ok", "authCode": CODE}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\t", b"ok", b"00000", b"resultCode", b"resultCode\t", b"\t00000", b"resultMesg\tok",
        b"resultCode|resultMesg\t00000", b"resultCode\t00000|ok", b"resultCode|resultMesg\t00000|a|b",
        b"resultCode|resultCode\t00000|00000", b"resultCode|resultCode\t99999|00000", b"resultCode|mystery\t00000|1",
        b"resultCode\t00000\t", b"resultCode\t00000\n\n", b"resultCode\t00000\nresultCode\t00000",
        b"resultCode\t00000\x00", b" resultCode\t00000", b"resultcode\t00000", b"\xef\xbb\xbfresultCode\t00000",
        b"resultCode\t\xff", b"<html>resultCode\t00000</html>", b'{"resultCode": "00000"}',
        b"resultCode|resultMesg\t00000|" + b"x" * BYTES_MAX,
    ],
)  # fmt: skip
def test_what_is_not_such_a_line_to_the_letter_says_nothing(body: bytes) -> None:
    with pytest.raises(Unknown):
        read(body)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_read_or_unknown(body: bytes) -> None:
    with suppress(Unknown):
        said = read(body)
        assert said["resultCode"]
        assert said.keys() <= NAMES


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="|", min_codepoint=32), max_size=30)


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), VALUES, max_size=8), st.sampled_from(["", "\n", "\r\n"]))
def test_every_line_is_read_as_it_was_written(said: dict[str, str], ending: str) -> None:
    line = f"{'|'.join(said)}\t{'|'.join(said.values())}{ending}".encode()

    if said.get("resultCode"):
        assert read(line) == said
    else:
        with pytest.raises(Unknown):
            read(line)


@given(st.data())
def test_a_line_that_was_cut_or_changed_never_turns_into_success(data: st.DataObject) -> None:
    line = b"resultMesg|resultCode|icpOrderId\tno|90006|" + ORDER_ID.encode()
    cut = data.draw(st.integers(0, len(line)))
    inserted = data.draw(st.binary(max_size=3))
    changed = line[:cut] + inserted + line[cut + data.draw(st.integers(0, 3)) :]

    with suppress(Unknown):
        assert read(changed)["resultCode"] != sonet.DONE


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_notification_is_a_hint_or_none(body: bytes) -> None:
    hint = sonet.hint_of(body, order(), SETTINGS)

    assert hint is None or (b"ok" in body and hint.reference)


def test_a_notification_names_a_payment_and_what_it_cost() -> None:
    assert sonet.hint_of(b"resultCode=ok&sonetOrderNo=S1&price=299", order(), SETTINGS) == Hint("S1", 29_900)
    assert sonet.hint_of(b"resultCode=ok&sonetOrderNo=S1", order(), SETTINGS) == Hint("S1", None)


def test_so_net_is_paid_at_so_nets_own_addresses() -> None:
    assert (SETTINGS.sonet_api_origin, SETTINGS.sonet_page_origin) == (SONET_API, SONET_PAGE)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sonet_merchant_id": ""}, "SONET_MERCHANT_ID"),
        ({"sonet_merchant_id": "demo_merchant"}, "SONET_MERCHANT_ID is a demo merchant"),
        ({"sonet_merchant_id": "a b"}, "sonet_merchant_id"),
        ({"sonet_payment_type": "vATM_FCB"}, "sonet_payment_type"),
        ({"sonet_payment_type": "IBON"}, "sonet_payment_type"),
        ({"sonet_api_origin": "https://mpapi-dev.so-net.net.tw"}, "SONET_API_ORIGIN"),
        ({"sonet_page_origin": "https://mpay-dev.so-net.net.tw"}, "SONET_PAGE_ORIGIN"),
        ({"sonet_page_origin": "http://mpay.so-net.net.tw"}, "SONET_PAGE_ORIGIN"),
        ({"sonet_page_origin": ""}, "SONET_PAGE_ORIGIN"),
        ({"sonet_page_origin": "https://mpay.so-net.net.tw@evil.example"}, "sonet_page_origin"),
    ],
)
def test_what_is_not_set_or_only_for_play_stops_the_start_and_is_named(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ShopSettings(**REAL | changed)


def test_a_local_stack_has_its_own_so_net() -> None:
    own = {"sonet_merchant_id": "demo_merchant", "sonet_api_origin": "http://127.0.0.1:1", "devstack": True}

    assert ShopSettings(**REAL | own).sonet_merchant_id == "demo_merchant"
