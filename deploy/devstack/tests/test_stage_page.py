"""The stage in a real Chromium: a streamer and viewers before the page, as people would be. They click and read."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest

from devstack.clock import with_clock
from devstack.downloads import checked_modules
from devstack.stack import Stack
from devstack.tokens import access_token

if TYPE_CHECKING:
    from deploy.devstack.tests.conftest import OnStage

SERVERS = ("mongod", "kafka", "soketi", "nginx", "stage", "sonet")
PARTS = (*SERVERS, *(f"{service}-api" for service in ("goals", "sessions", "escrow", "notifier", "shop")))
STEP_SECONDS = 12
TIMES = {
    "STEP_SECONDS": str(STEP_SECONDS),
    "INVITATION_SECONDS": "60",
    "EXCLUSIVE_WINDOW_SECONDS": str(STEP_SECONDS),
    "INVITATION_REFUND_SECONDS": "15",
    "UNKNOWN_WAIT_SECONDS": "10",
}
EXCLUSIVE_PRICE, SD_PRICE, TICKET_PRICE, CAKE_PRICE = 30, 10, 134, 99
DIAMONDS = 1_000
PACK, PACK_DIAMONDS = "diamond_29900", 1_000

EVIL = ("<img src=x onerror=\"document.title='owned'\">", "\"><script>document.title='owned'</script>")

PLANTED = """
  const asked = window.fetch, evil = EVIL;
  const plant = (value) => {
    if (typeof value === "string") return value + evil;
    if (Array.isArray(value)) return value.map(plant);
    if (!value || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plant(one)]));
  };
  window.fetch = async (path, options) => {
    const answer = await asked(path, options), { status, headers } = answer;
    if (["/config", "/stage/people"].includes(path) || !headers.get("content-type")?.includes("json")) return answer;
    return new Response(JSON.stringify(plant(await answer.json())), { status, headers });
  };
""".replace("EVIL", json.dumps(EVIL[0]))
"""As if people could write whatever text the platform answers."""

INLINE = """() => {
  document.body.append(Object.assign(document.createElement("script"), { textContent: "window.ran = true" }));
  document.querySelector("body > script:last-child").remove();
  return window.ran;
}"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, plain_environ: Mapping[str, str]) -> Iterator[Stack]:
    """As little of a stack as the page needs, with times that a busy machine can keep."""
    with Stack(tmp_path_factory.mktemp("page"), only=PARTS, environ={**plain_environ, **TIMES}, together=True) as stack:
        yield stack


@pytest.fixture(autouse=True)
async def books(running: Stack) -> AsyncIterator[None]:
    """Whatever was played, all accounts together are zero."""
    yield
    of_stack = with_clock({}, running.settings.data)
    token = {"Authorization": f"Bearer {access_token('0' * 24, ['OPS'], of_stack, 60)}"}
    async with httpx.AsyncClient(base_url=running.gateway, headers=token, trust_env=False, timeout=60) as http:
        assert (await http.get("/ledger/proof")).json()["holds"] is True


async def test_an_invitation_is_refused_and_another_is_kept(on_stage: "OnStage") -> None:
    streamer, refused, invited = [await on_stage() for _ in range(3)]
    await streamer.enters("Ada", "streamer")
    await refused.enters("Max", "viewer", DIAMONDS)
    await invited.enters("Zoe", "viewer", DIAMONDS)
    await streamer.fills("air", title="Evening", exclusive=EXCLUSIVE_PRICE, sd=SD_PRICE)
    await streamer.shows("On air: Evening")
    for viewer in (refused, invited):
        await viewer.goes_to("Evening")
        await viewer.shows("free preview", "#watching")
    await refused.picture("viewer-preview")

    # Refused: the money is back
    await refused.fills("invite", steps=1)
    await refused.shows(f"diamonds {DIAMONDS - EXCLUSIVE_PRICE} (-{EXCLUSIVE_PRICE})", "#lines")
    await streamer.shows("Invitation to a 1-on-1", "#goals")
    await streamer.picture("streamer-invited")
    await streamer.presses("refuse")
    await refused.shows(f"diamonds {DIAMONDS} (+{EXCLUSIVE_PRICE})", "#lines")
    await refused.shows("refused", "#goals")
    await refused.fills("invite", steps=1)
    await refused.shows("Refused:", "#refused")
    await refused.picture("viewer-refused")

    # Agreed and performed: the money is the streamer's
    await invited.fills("invite", steps=1)
    await invited.shows(f"diamonds {DIAMONDS - EXCLUSIVE_PRICE} (-{EXCLUSIVE_PRICE})", "#lines")
    await streamer.presses("agree")
    await streamer.presses("begin")
    await invited.shows("paid stream (sd)", "#watching")
    await refused.shows("You see nothing", "#watching")
    await invited.picture("viewer-exclusive")
    await refused.picture("viewer-shut-out")
    await streamer.presses("minute")  # as long as all steps last
    await streamer.shows(f"{EXCLUSIVE_PRICE} earned", "#balance")
    await streamer.picture("streamer-paid")

    for passed in ("goals ▸ goal.created.v1 ← POST /goals", "escrow ▸ escrow.completed.v1", "goal.ended"):
        await streamer.shows(passed, "#lines")
    await streamer.presses("end")
    await streamer.shows("Off air")


async def test_a_show_with_three_buyers_is_broken_off_and_all_have_their_money_back(
    on_stage: "OnStage",
) -> None:
    streamer, *buyers = [await on_stage() for _ in range(4)]
    await streamer.enters("Ida", "streamer")
    await streamer.fills("air", title="Matinee", sd=SD_PRICE)
    await streamer.fills("show", title="A song", tickets=len(buyers), sale=600, perform=100)
    for number, buyer in enumerate(buyers, start=1):
        await buyer.enters(f"Buyer {number}", "viewer", DIAMONDS)
        await buyer.goes_to("Matinee")
        await buyer.presses("ticket")
        await buyer.shows(f"diamonds {DIAMONDS - TICKET_PRICE} (-{TICKET_PRICE})", "#lines")
        await streamer.shows(f"{number} of {len(buyers)}", "#goals")
    await buyers[0].picture("viewer-ticket")

    await streamer.presses("sold")
    await streamer.shows("funded", "#goals")
    await streamer.presses("perform")
    for buyer in buyers:
        await buyer.shows("paid stream (sd)", "#watching")
    await streamer.picture("streamer-performs")
    await streamer.presses("stop")
    for buyer in buyers:
        await buyer.shows(f"diamonds {DIAMONDS} (+{TICKET_PRICE})", "#lines")
        await buyer.shows("free preview", "#watching")
    await buyers[0].picture("viewer-show-refunded")

    # Minutes, as long as they last; gifts for a goal; and somebody who is not wanted any more
    viewer, other, blocked = buyers
    await viewer.fills("pay", steps=1)
    await viewer.shows("paid stream (sd)", "#watching")
    await viewer.presses("minute")
    await viewer.shows("free preview", "#watching")
    await streamer.fills("private", title="A dance", target=10_000, seconds=600)
    await other.presses("cake")
    await streamer.shows(f"{CAKE_PRICE} of 10000", "#goals")
    await streamer.presses("stop")
    await other.shows(f"diamonds {DIAMONDS} (+{CAKE_PRICE})", "#lines")
    await blocked.fills("invite", steps=1)
    await streamer.presses("block")
    await blocked.shows("You see nothing", "#watching")
    await blocked.shows(f"diamonds {DIAMONDS} (+{EXCLUSIVE_PRICE})", "#lines")
    await blocked.picture("viewer-blocked")
    await streamer.presses("end")
    await streamer.shows("Off air")


async def test_diamonds_are_bought_on_the_way_there_and_back_of_the_shop(on_stage: "OnStage") -> None:
    buyer = await on_stage("?role=viewer")
    await buyer.enters("Bea", "viewer")
    await buyer.fills("buy", pack=PACK)
    await buyer.shows("to be paid", "#orders")
    await buyer.picture("viewer-order")

    # The link leads to a tab of its own, and the page goes on beside it
    sonet = await buyer.follows("#orders a")
    await sonet.shows("NT$299")
    await sonet.clicks("[value=pay]")
    await sonet.shows("Paid.")

    await buyer.shows(f"diamonds {PACK_DIAMONDS} (+{PACK_DIAMONDS})", "#lines")
    await buyer.shows("paid · there", "#orders")
    for passed in (
        "shop ▸ order.created.v1 ← POST /shop/checkout",
        "shop ▸ order.paid.v1",
        "escrow ▸ wallet.credited.v1",
    ):
        await buyer.shows(passed, "#lines")
    assert await buyer.asks("document.querySelector('#orders a')") is None
    await buyer.picture("viewer-bought")

    # Who comes again asks anew where to pay, and may think otherwise
    await buyer.fills("buy", pack=PACK)
    await buyer.shows("to be paid", "#orders")
    await buyer.page.tell("Page.reload")
    await buyer.presses("pay")
    sonet = await buyer.follows("#orders a")
    await sonet.shows("NT$299")
    await sonet.clicks("[value=cancel]")
    await sonet.shows("not been paid")
    await buyer.shows("to be paid", "#orders")


async def test_a_1_on_1_is_played_with_the_keyboard_alone(on_stage: "OnStage") -> None:
    streamer, viewer = await on_stage(), await on_stage("?role=viewer")
    for tab, name in ((streamer, "Kay"), (viewer, "Lee")):
        await tab.tabs_to("#form-enter [name=name]")
        await tab.types(name)
        await tab.presses_key("Enter")
        await tab.shows(name, "#who")
        assert await tab.has_focus() == "H2"

    await streamer.tabs_to("#form-air [name=title]")
    await streamer.types("By keys")
    await streamer.presses_key("Enter")
    await streamer.shows("On air: By keys")
    assert await streamer.has_focus() == "H2"

    await viewer.shows("By keys", "#sessions")
    row = "li:has(b)"
    await viewer.tabs_to(f"#sessions {row} [data-act=watch]")
    await viewer.presses_key("Enter")
    await viewer.shows("On air: By keys")
    await viewer.tabs_to("#form-invite button")
    await viewer.presses_key(" ")
    await viewer.shows("open", "#goals")
    assert await viewer.has_focus() == "BUTTON"

    await streamer.tabs_to("[data-act=agree]")
    await streamer.presses_key("Enter")
    await streamer.tabs_to("[data-act=begin]")
    await streamer.presses_key(" ")
    await streamer.shows("1-on-1", "#goals")
    assert await streamer.has_focus() != "BODY"
    await viewer.shows("paid stream (sd)", "#watching")

    await streamer.tabs_to("[data-act=end]")
    await streamer.presses_key("Enter")
    await streamer.shows("Off air")
    assert await streamer.has_focus() != "BODY"


async def test_a_minute_passes_for_all_when_somebody_says_so(on_stage: "OnStage") -> None:
    streamer, viewer = await on_stage(), await on_stage("?role=viewer")
    await streamer.enters("Uma", "streamer")
    await streamer.fills("air", title="A minute later", exclusive=EXCLUSIVE_PRICE)
    await viewer.enters("Pat", "viewer", DIAMONDS)
    await viewer.goes_to("A minute later")
    await viewer.fills("invite", steps=1)
    await streamer.waits_for("[data-act=agree]")

    clock = await viewer.asks("fetch('/stage/clock').then((answer) => answer.json())")
    before = round(clock["ahead_seconds"])

    await viewer.presses("minute")

    await viewer.shows("timed out", "#goals")
    await viewer.shows(f"diamonds {DIAMONDS} (+{EXCLUSIVE_PRICE})", "#lines")
    for tab in (viewer, streamer):
        await tab.shows(f"{before // 60 + 1}:{before % 60:02} ahead", "#ahead")
    await viewer.picture("viewer-minute")
    await streamer.presses("end")
    await streamer.shows("Off air")


async def test_axe_finds_nothing_at_any_width_in_light_and_dark(on_stage: "OnStage") -> None:
    axe = (checked_modules() / "axe-core" / "axe.min.js").read_text()
    streamer, viewer = await on_stage(), await on_stage("?role=viewer")
    found = {"entry": await viewer.faults(axe)}
    await streamer.enters("Ada", "streamer")
    await streamer.fills("air", title="Seen by axe", exclusive=EXCLUSIVE_PRICE, sd=SD_PRICE)
    await streamer.shows("On air: Seen by axe")
    await streamer.fills("private", title="A dance", target=10_000, seconds=600)
    await viewer.enters("Max", "viewer", EXCLUSIVE_PRICE)
    await viewer.goes_to("Seen by axe")
    await viewer.fills("buy", pack=PACK)
    await viewer.shows("to be paid", "#orders")
    await viewer.fills("invite", steps=1)
    await streamer.shows("Invitation", "#goals")
    await viewer.fills("invite", steps=60)
    await viewer.shows("Refused:", "#refused")
    for scheme, width in (("light", 1280), ("dark", 1280), ("light", 360)):
        for name, tab in (("streamer", streamer), ("viewer", viewer)):
            await tab.looks(scheme, width)
            found[f"{name} {scheme} {width}"] = await tab.faults(axe)
            await tab.picture(f"axe-{name}-{scheme}-{width}")
    await streamer.presses("end")
    await streamer.shows("Off air")

    assert {where: faults for where, faults in found.items() if faults} == {}


async def test_what_somebody_has_written_is_shown_as_it_is(on_stage: "OnStage") -> None:
    streamer = await on_stage()
    await streamer.enters(EVIL[0], "streamer")
    await streamer.fills("air", title=EVIL[0])
    await streamer.shows(EVIL[0], "#play-title")
    await streamer.fills("private", title=EVIL[1], seconds=600)
    await streamer.shows(EVIL[1], "#goals")
    session = await streamer.asks("sessionStorage.getItem('footlights-session')")

    viewer = await on_stage(f"?role=viewer&session={session}", before=PLANTED)
    await viewer.fills("enter", name=EVIL[1], role="viewer", diamonds=DIAMONDS)
    await viewer.shows(EVIL[1], "#who")
    await viewer.fills("buy")
    for place in ("#play-title", "#goals", "#orders", "#watching"):
        await viewer.shows(EVIL[0], place)
    await viewer.asks("document.querySelector('#form-gift [name=product]').append(new Option('', '<img src=x>'))")
    await viewer.fills("gift", product="<img src=x>")
    await viewer.shows(EVIL[0], "#refused")
    lost = await on_stage(f"?role={quote(EVIL[0])}&session={quote('../wallets/me?' + EVIL[0])}")
    await lost.enters("Who", "viewer")

    for name, tab in (("streamer", streamer), ("viewer", viewer), ("lost", lost)):
        await tab.picture(f"evil-{name}")
        assert await tab.asks("document.querySelectorAll('img, iframe, script:not([src])').length") == 0
        assert "owned" not in await tab.asks("document.title")
        assert await tab.asks(f"({INLINE})()") is None  # even what stands in the page does not run
    await streamer.presses("end")
    await streamer.shows("Off air")
