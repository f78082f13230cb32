"""Gifts over HTTP and what becomes of them, on the real MongoDB."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest

from chassis import ids
from chassis.testing import Solo
from contracts import (
    Conditions,
    Context,
    EscrowFailedV1,
    EscrowRejectedV1,
    GiftFailedV1,
    GiftRequestedV1,
    GiftSentV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalProgressedV1,
    Level,
    Metadata,
    PaymentFailedV1,
    PaymentSucceededV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from contracts.goals import GoalKind
from contracts.products import GIFT_PRODUCT_IDS, TICKET_PRODUCT_IDS
from contracts.sessions import Prices, Statuses
from shop import store
from shop.domain.products import PRODUCTS
from shop.service import SERVICE

SoloOf = Callable[..., Awaitable[Solo]]
TICKET, OTHER_TICKET, ROSE, SONG = (
    "livestream-show-ticket_134",
    "livestream-show-ticket_1200",
    "livestream-gift_rose",
    "karaoke-song_60",
)


class Evening:
    """One session with what can be given for."""

    def __init__(self, solo: Solo) -> None:
        self.solo = solo
        self.session, self.streamer, self.viewer = (ids.new_id() for _ in range(3))
        self.of: dict[str, Any] = {"session_id": self.session, "streamer_id": self.streamer}

    async def begin(self) -> None:
        await self.solo.hear(SessionStartedV1(**self._facts(ended=False)))

    async def end(self) -> None:
        await self.solo.hear(SessionEndedV1(**self._facts(ended=True)))

    async def exclusive_to(self, *viewers: str) -> None:
        await self.solo.hear(SessionUpdatedV1(**self._facts(ended=False) | {"exclusive_to": viewers}))

    def _facts(self, *, ended: bool) -> dict[str, Any]:
        now = self.solo.now
        return {
            **self.of,
            "active": not ended,
            "prices": Prices(sd=10, exclusive=20),
            "preset": "preview",
            "sources": (),
            "statuses": Statuses(created=now, ended=now if ended else None),
            "exclusive_to": (),
        }

    async def goal(self, kind: GoalKind, goal_id: str | None = None, **context: Any) -> str:
        goal_id = goal_id or ids.new_id()
        await self.solo.hear(
            GoalCreatedV1(
                **self.of,
                goal_id=goal_id,
                kind=kind,
                active=True,
                conditions=Conditions(session_id=self.session),
                context=Context(**({"type": "show-funding"} | context)),
                levels=(Level(title="t", target=10),),
                metadata=Metadata(user_id=self.streamer),
                nbf=None,
                exp=self.solo.now + timedelta(minutes=5),
            )
        )
        return goal_id

    async def funding(self, **context: Any) -> str:
        regular: dict[str, Any] = {"ticket_product_id": TICKET, "ticket_product_type": "regular"}
        return await self.goal("ShowFundingGoal", **(regular | context))

    async def give(self, product: str = ROSE, count: Any = 1, **body: Any) -> httpx.Response:
        wish = {"product_id": product, "session_id": self.session, "count": count} | body
        return await self.solo.client(self.viewer).post("/gifts", json=wish)

    async def given(self, *args: Any, **body: Any) -> GiftRequestedV1:
        answer = await self.give(*args, **body)
        assert answer.status_code == 202, answer.text
        (asked,) = await self.solo.take()
        assert isinstance(asked, GiftRequestedV1)
        assert answer.json() == {"gift_id": asked.gift_id, "amount_diamonds": asked.amount_diamonds}
        return asked

    async def read(self, gift_id: str) -> Any:
        return (await self.solo.client(self.viewer).get(f"/gifts/{gift_id}")).json()


@pytest.fixture
async def evening(solo_of: SoloOf) -> Evening:
    evening = Evening(await solo_of(SERVICE))
    await evening.begin()
    return evening


async def test_a_general_gift_goes_to_the_streamer_at_once(evening: Evening) -> None:
    asked = await evening.given(ROSE, 3)

    assert (asked.amount_diamonds, asked.goal_id, asked.funding_goal_id) == (30, None, None)
    assert await evening.read(asked.gift_id) == {
        "gift_id": asked.gift_id, "status": "requested", "amount_diamonds": 30, "reason": None,
    }  # fmt: skip


async def test_a_karaoke_gift_says_how_long(evening: Evening) -> None:
    assert (await evening.given(SONG)).duration == 60


async def test_a_general_gift_for_a_private_goal_is_held_for_it(evening: Evening) -> None:
    private = await evening.goal("TriggerPrivateGoal", type="trigger-private")

    assert (await evening.given(ROSE, goal_id=private)).goal_id == private


async def test_a_ticket_names_the_funding_or_its_show(evening: Evening) -> None:
    funding = await evening.funding()
    show = await evening.goal("ShowGoal", type="show", funding_goal_id=funding, ticket_product_id=TICKET)

    for named in (funding, show):
        asked = await evening.given(TICKET, 2, goal_id=named)
        assert (asked.goal_id, asked.funding_goal_id, asked.amount_diamonds) == (named, funding, 268)


@pytest.mark.parametrize(("discount", "price"), [(0, 134), (33, 90), (99, 2)])
async def test_an_early_bird_pays_less_rounded_up(evening: Evening, discount: int, price: int) -> None:
    funding = await evening.funding(ticket_product_type="earlybird", discount_percentage=discount)

    assert (await evening.given(TICKET, goal_id=funding)).amount_diamonds == price


async def test_what_does_not_fit_is_refused_and_changes_nothing(evening: Evening) -> None:
    funding = await evening.funding()
    private = await evening.goal("TriggerPrivateGoal", type="trigger-private")
    over = await evening.funding()
    other = Evening(evening.solo)
    await other.begin()
    foreign = await other.funding()
    await evening.solo.hear(_ended(evening, over))

    answers = {
        "other ticket": await evening.give(OTHER_TICKET, goal_id=funding),
        "not a show": await evening.give(TICKET, goal_id=private),
        "over": await evening.give(TICKET, goal_id=over),
        "foreign": await evening.give(TICKET, goal_id=foreign),
        "no goal": await evening.give(TICKET),
        "no goal, unknown session": await evening.give(TICKET, session_id=ids.new_id()),
        "unknown goal": await evening.give(TICKET, goal_id=ids.new_id()),
        "unknown product": await evening.give("livestream-gift_nothing"),
        "unknown session": await evening.give(session_id=ids.new_id()),
    } | {f"count {count}": await evening.give(ROSE, count) for count in (0, 101, 1.5, "1", None, 10**24)}

    assert {name: (answer.status_code, answer.json()["type"].split("/")[-1]) for name, answer in answers.items()} == {
        "other ticket": (409, "other-ticket"),
        "not a show": (409, "not-a-show"),
        "over": (409, "goal-over"),
        "foreign": (409, "goal-of-another-session"),
        "no goal": (422, "ticket-without-goal"),
        "no goal, unknown session": (422, "ticket-without-goal"),
        "unknown goal": (404, "goal-not-found"),
        "unknown product": (404, "product-not-found"),
        "unknown session": (404, "session-not-found"),
        **{f"count {count}": (422, "invalid-request") for count in (0, 101, 1.5, "1", None, 10**24)},
    }
    assert await evening.solo.published() == []


async def test_only_its_ticket_is_given_for_a_show_and_no_performance_for_a_private_goal(evening: Evening) -> None:
    castle = "livestream-gift_castle"
    careless = await evening.funding(ticket_product_id=castle)
    funding = await evening.funding()
    show = await evening.goal("ShowGoal", type="show", funding_goal_id=funding, ticket_product_id=TICKET)
    private = await evening.goal("TriggerPrivateGoal", type="trigger-private")

    answers = [
        await evening.give(castle, goal_id=careless),
        await evening.give(ROSE, goal_id=funding),
        await evening.give(ROSE, goal_id=show),
        await evening.give(SONG, goal_id=private),
        await evening.give("karaoke-cheer", goal_id=private),
    ]

    assert [refusal(answer) for answer in answers] == ["409 not-a-ticket"] * 3 + ["409 needs-a-performance"] * 2
    assert await evening.solo.published() == []


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("KaraokeGoal", "karaoke"),
        ("ExclusiveGoal", "exclusive"),
        ("TriggerExclusiveGoal", "trigger-exclusive"),
        ("GoalOfTomorrow", "of-tomorrow"),
    ],
)
async def test_a_goal_that_takes_no_gifts_says_so_at_once(evening: Evening, kind: Any, context: str) -> None:
    goal = await evening.goal(kind, type=context)

    answers = [await evening.give(ROSE, goal_id=goal), await evening.give(TICKET, goal_id=goal)]

    assert [refusal(answer) for answer in answers] == ["409 takes-no-gifts", "409 not-a-show"]


async def test_who_is_blocked_gives_nothing_whatever_it_is_until_unblocked(evening: Evening) -> None:
    pair = {"streamer_id": evening.streamer, "viewer_id": evening.viewer}
    funding = await evening.funding()
    private = await evening.goal("TriggerPrivateGoal", type="trigger-private")
    wishes: tuple[dict[str, Any], ...] = (
        {"product": ROSE},
        {"product": SONG},
        {"product": TICKET, "goal_id": funding},
        {"product": ROSE, "goal_id": private},
        {"product": ROSE, "goal_id": ids.new_id()},
    )
    await evening.solo.hear(ViewerBlockedV1(**pair))
    answers = [await evening.give(**wish) for wish in wishes]
    evening.viewer, blocked = ids.new_id(), evening.viewer
    other = await evening.give(ROSE)
    evening.viewer = blocked
    await evening.solo.hear(ViewerUnblockedV1(**pair))
    after = await evening.give(ROSE)

    assert [refusal(answer) for answer in answers] == ["403 blocked-by-streamer"] * 5
    assert (other.status_code, after.status_code) == (202, 202)


async def test_nobody_gives_to_themselves(evening: Evening) -> None:
    evening.viewer = evening.streamer

    assert refusal(await evening.give(ROSE)) == "403 own-session"


async def test_while_a_session_is_somebodys_alone_nobody_else_gives(evening: Evening) -> None:
    viewer, alone = evening.viewer, ids.new_id()
    private = await evening.goal("TriggerPrivateGoal", type="trigger-private")
    await evening.exclusive_to(alone)
    others = [await evening.give(SONG), await evening.give(ROSE, goal_id=private)]
    evening.viewer = alone
    theirs = await evening.give(SONG)
    await evening.exclusive_to()
    evening.viewer = viewer
    again = await evening.give(SONG)

    assert [refusal(answer) for answer in others] == ["409 exclusive-to-another"] * 2
    assert (theirs.status_code, again.status_code) == (202, 202)


async def test_a_session_is_over_at_its_maximum_though_nobody_said_so(solo_of: SoloOf) -> None:
    evening = Evening(await solo_of(SERVICE, SESSION_MAX_SECONDS=100))
    await evening.begin()
    evening.solo.clock.advance(99.999)
    in_time = await evening.give(ROSE)
    evening.solo.clock.advance(0.001)
    late = await evening.give(ROSE)

    assert (in_time.status_code, refusal(late)) == (202, "409 session-over")


async def test_a_gift_waits_for_its_money_as_long_as_a_proposal(solo_of: SoloOf) -> None:
    evening = Evening(await solo_of(SERVICE, PROPOSAL_SECONDS=7.5))
    await evening.begin()
    funding = await evening.funding()

    asked = [await evening.given(ROSE), await evening.given(TICKET, goal_id=funding)]

    assert [gift.exp for gift in asked] == [evening.solo.now + timedelta(seconds=7.5)] * 2


async def test_nothing_costs_more_than_was_agreed_to(evening: Evening) -> None:
    funding = await evening.funding(ticket_product_type="earlybird", discount_percentage=33)
    enough = [
        await evening.give(TICKET, 2, goal_id=funding, max_amount_diamonds=180),
        await evening.give(ROSE, 3, max_amount_diamonds=30),
        await evening.give(ROSE, 3, max_amount_diamonds=None),
    ]
    dear = [
        await evening.give(TICKET, 2, goal_id=funding, max_amount_diamonds=179),
        await evening.give(ROSE, 3, max_amount_diamonds=0),
    ]
    wrong = [await evening.give(ROSE, max_amount_diamonds=amount) for amount in (-1, 1.5, "10", True)]

    assert [answer.json()["amount_diamonds"] for answer in enough] == [180, 30, 30]
    assert [(refusal(answer), answer.json()["amount_diamonds"]) for answer in dear] == [
        ("409 price-changed", 180), ("409 price-changed", 30),
    ]  # fmt: skip
    assert {refusal(answer) for answer in wrong} == {"422 invalid-request"}


async def test_nothing_is_given_after_the_session_or_at_the_goals_exp(evening: Evening) -> None:
    funding = await evening.funding()
    evening.solo.clock.advance(300)
    late = await evening.give(TICKET, goal_id=funding)
    await evening.end()
    await evening.begin()  # an earlier fact that arrives later changes nothing
    over = await evening.give(ROSE)

    assert (late.json()["type"], over.json()["type"]) == ("/problems/goal-over", "/problems/session-over")


async def test_a_held_gift_is_sent_when_goals_counts_it_and_failed_when_it_does_not(evening: Evening) -> None:
    funding = await evening.funding()
    counted, refused, unpaid = [await evening.given(TICKET, goal_id=funding) for _ in range(3)]
    escrow: dict[str, Any] = {**evening.of, "goal_id": funding, "escrow_id": f"show_funding:{funding}"}
    earning = ids.new_id()
    held: dict[str, Any] = {**escrow, "user_id": evening.viewer, "contribution_id": earning, "earning_id": earning}

    await evening.solo.hear(
        GoalProgressedV1(
            **held, kind="ShowFundingGoal", gift_id=counted.gift_id, count=1, progress=1, target=10, reached=False
        ),
        GoalContributionRejectedV1(**held, gift_id=refused.gift_id, reason="goal_over"),
        EscrowRejectedV1(
            **escrow, buyer_id=evening.viewer, amount_diamonds=134, cause_id=unpaid.gift_id, gift_id=unpaid.gift_id,
            reason="insufficient_diamonds",
        ),
    )  # fmt: skip

    assert [type(event) for event in await evening.solo.take()] == [GiftSentV1, GiftFailedV1, GiftFailedV1]
    states = [await evening.read(gift.gift_id) for gift in (counted, refused, unpaid)]
    assert [(state["status"], state["reason"]) for state in states] == [
        ("sent", None),
        ("failed", "goal_over"),
        ("failed", "insufficient_diamonds"),
    ]


async def test_a_failed_gift_says_why(evening: Evening) -> None:
    funding = await evening.funding()
    asked = await evening.given(TICKET, goal_id=funding)

    await evening.solo.hear(_unheld(evening, asked))

    [told] = await evening.solo.take()
    assert isinstance(told, GiftFailedV1)
    assert (told.gift_id, told.reason) == (asked.gift_id, "expired")


@pytest.mark.parametrize("refund_first", [False, True])
async def test_a_gift_whose_money_came_back_is_refunded_in_whatever_order_it_is_told(
    evening: Evening,
    refund_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    funding = await evening.funding()
    lapsed, uncounted = [await evening.given(TICKET, goal_id=funding) for _ in range(2)]
    history = [
        _counted(evening, lapsed),
        _refunded(evening, lapsed, "no_show"),
        GoalContributionRejectedV1(**_held(evening, uncounted), reason="goal_over"),
        _refunded(evening, uncounted, "contribution_rejected"),
    ]

    await evening.solo.hear(*(reversed(history) if refund_first else history))

    assert {type(event) for event in await evening.solo.take()} == {GiftSentV1, GiftFailedV1}
    assert [await _became(evening, gift) for gift in (lapsed, uncounted)] == [
        ("refunded", "no_show"),
        ("failed", "goal_over"),
    ]


async def test_a_gift_that_never_cost_anything_is_forgotten_and_late_news_of_it_changes_nothing(
    evening: Evening,
) -> None:
    funding = await evening.funding()
    unheld, unpaid, uncounted, sent = (
        await evening.given(TICKET, goal_id=funding),
        await evening.given(ROSE),
        await evening.given(TICKET, goal_id=funding),
        await evening.given(TICKET, goal_id=funding),
    )
    payment = PaymentFailedV1(
        **evening.of, purpose="gift", payer_id=evening.viewer, amount_diamonds=10, payment_id=ids.new_id(),
        gift_id=unpaid.gift_id, reason="insufficient_diamonds",
    )  # fmt: skip
    rejected = GoalContributionRejectedV1(**_held(evening, uncounted), reason="goal_over")
    await evening.solo.hear(_unheld(evening, unheld), payment, rejected, _counted(evening, sent))

    async with evening.solo.tx() as tx:
        forgotten = await tx.find(store.GIFTS, {"unpaid_at": {"$type": "date"}})
        assert {gift.id for gift in forgotten} == {unheld.gift_id, unpaid.gift_id}
        for gift in forgotten:  # as MongoDB does, by the index on this field
            tx.delete(store.GIFTS, gift.id)
    await evening.solo.take()
    await evening.solo.hear(_unheld(evening, unheld), payment, _counted(evening, unheld))
    assert await evening.solo.take() == []
    assert {tuple(index.keys) for index in store.GIFTS.indexes if index.expire_after_seconds} == {("unpaid_at",)}


def test_the_products_are_those_that_services_have_agreed_on() -> None:
    assert {product.id for product in PRODUCTS} == GIFT_PRODUCT_IDS
    assert {product.id for product in PRODUCTS if product.is_ticket} == TICKET_PRODUCT_IDS


async def test_a_direct_gift_follows_its_payment_once(evening: Evening) -> None:
    good, bad = await evening.given(ROSE), await evening.given(ROSE)
    paid: dict[str, Any] = {**evening.of, "purpose": "gift", "payer_id": evening.viewer, "amount_diamonds": 10}
    history = (
        PaymentSucceededV1(**paid, payment_id=ids.new_id(), gift_id=good.gift_id),
        PaymentFailedV1(**paid, payment_id=ids.new_id(), gift_id=bad.gift_id, reason="insufficient_diamonds"),
    )

    await evening.solo.hear(*history, *history)

    assert [type(event) for event in await evening.solo.take()] == [GiftSentV1, GiftFailedV1]
    assert (await evening.read(good.gift_id))["status"] == "sent"
    assert (await evening.read(bad.gift_id))["reason"] == "insufficient_diamonds"


async def test_a_gift_exists_for_its_sender_only(evening: Evening) -> None:
    asked = await evening.given(ROSE)

    answer = await evening.solo.client(evening.streamer).get(f"/gifts/{asked.gift_id}")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/gift-not-found")


async def test_products_come_page_by_page(evening: Evening) -> None:
    client = evening.solo.client(evening.viewer)
    found: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = (await client.get("/shop/products", params={"limit": 4, **after})).json()
        found += [item["product_id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}

    assert found == [product.id for product in PRODUCTS]
    assert (await client.get("/shop/products", params={"after": "nonsense"})).status_code == 422


def _ended(evening: Evening, goal_id: str) -> GoalEndedV1:
    return GoalEndedV1(
        **evening.of, goal_id=goal_id, kind="ShowFundingGoal", active=False, progress=0, levels=(),
        conditions=Conditions(session_id=evening.session), context=Context(type="show-funding"),
        exp=evening.solo.now, ended_at=evening.solo.now, triggerer=None,
        metadata=Metadata(user_id=evening.streamer), outcome="unfunded",
    )  # fmt: skip


def refusal(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['type'].removeprefix('/problems/')}"


async def _became(evening: Evening, gift: GiftRequestedV1) -> tuple[str, str | None]:
    seen = await evening.read(gift.gift_id)
    return seen["status"], seen["reason"]


def _of(evening: Evening, gift: GiftRequestedV1) -> dict[str, Any]:
    escrow_id = f"show_funding:{gift.funding_goal_id}"
    return {**evening.of, "goal_id": gift.goal_id, "escrow_id": escrow_id, "gift_id": gift.gift_id}


def _held(evening: Evening, gift: GiftRequestedV1) -> dict[str, Any]:
    earning: dict[str, Any] = {"contribution_id": gift.gift_id, "earning_id": gift.gift_id}
    return {**_of(evening, gift), **earning, "user_id": gift.sender_id}


def _counted(evening: Evening, gift: GiftRequestedV1) -> GoalProgressedV1:
    held = _held(evening, gift)
    return GoalProgressedV1(**held, kind="ShowFundingGoal", count=1, progress=1, target=10, reached=False)


def _unheld(evening: Evening, gift: GiftRequestedV1) -> EscrowRejectedV1:
    asked: dict[str, Any] = {"buyer_id": gift.sender_id, "amount_diamonds": gift.amount_diamonds}
    return EscrowRejectedV1(**_of(evening, gift), **asked, cause_id=gift.gift_id, reason="expired")


def _refunded(evening: Evening, gift: GiftRequestedV1, reason: Any) -> EscrowFailedV1:
    paid: dict[str, Any] = {"buyer_id": gift.sender_id, "amount_diamonds": gift.amount_diamonds}
    return EscrowFailedV1(**_of(evening, gift), **paid, earning_id=gift.gift_id, reason=reason)
