"""Gifts over HTTP and what becomes of them, on the real MongoDB."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from chassis import ids
from chassis_testing.service import ServiceHarness
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
from shop.domain.products import GIFTS, SOLD
from shop.service import SERVICE

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
TICKET, OTHER_TICKET, ROSE, SONG = (
    "livestream-show-ticket_134",
    "livestream-show-ticket_1200",
    "livestream-gift_rose",
    "karaoke-song_60",
)


class Scenario:
    """One session with what can be given for."""

    def __init__(self, harness: ServiceHarness) -> None:
        self.harness = harness
        self.session, self.streamer, self.viewer = (ids.new_id() for _ in range(3))
        self.of: dict[str, Any] = {"session_id": self.session, "streamer_id": self.streamer}

    async def begin(self, exp: datetime | None = None) -> None:
        await self.harness.handle(SessionStartedV1(**self._facts(ended=False), exp=exp))

    async def end(self) -> None:
        await self.harness.handle(SessionEndedV1(**self._facts(ended=True)))

    async def exclusive_to(self, *viewers: str) -> None:
        await self.harness.handle(SessionUpdatedV1(**self._facts(ended=False) | {"exclusive_to": viewers}))

    def _facts(self, *, ended: bool) -> dict[str, Any]:
        now = self.harness.now
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
        await self.harness.handle(
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
                exp=self.harness.now + timedelta(minutes=5),
            )
        )
        return goal_id

    async def funding(self, **context: Any) -> str:
        regular: dict[str, Any] = {"ticket_product_id": TICKET, "ticket_product_type": "regular"}
        return await self.goal("ShowFundingGoal", **(regular | context))

    async def give(self, product: str = ROSE, count: Any = 1, **body: Any) -> httpx.Response:
        wish = {"product_id": product, "session_id": self.session, "count": count} | body
        return await self.harness.client(self.viewer).post("/gifts", json=wish)

    async def given(self, *args: Any, **body: Any) -> GiftRequestedV1:
        answer = await self.give(*args, **body)
        assert answer.status_code == 202, answer.text
        (asked,) = await self.harness.take()
        assert isinstance(asked, GiftRequestedV1)
        assert answer.json() == {"gift_id": asked.gift_id, "amount_diamonds": asked.amount_diamonds}
        return asked

    async def read(self, gift_id: str) -> Any:
        return (await self.harness.client(self.viewer).get(f"/gifts/{gift_id}")).json()


@pytest.fixture
async def scenario(harness_of: HarnessOf) -> Scenario:
    scenario = Scenario(await harness_of(SERVICE))
    await scenario.begin()
    return scenario


async def test_a_general_gift_goes_to_the_streamer_at_once(scenario: Scenario) -> None:
    asked = await scenario.given(ROSE, 3)

    assert (asked.amount_diamonds, asked.goal_id, asked.funding_goal_id) == (30, None, None)
    assert await scenario.read(asked.gift_id) == {
        "gift_id": asked.gift_id, "session_id": asked.session_id, "goal_id": None,
        "product_id": ROSE, "count": 3, "status": "requested", "amount_diamonds": 30, "reason": None,
    }  # fmt: skip


async def test_a_karaoke_gift_says_how_long(scenario: Scenario) -> None:
    assert (await scenario.given(SONG)).duration == 60


async def test_a_general_gift_for_a_private_goal_is_held_for_it(scenario: Scenario) -> None:
    private = await scenario.goal("TriggerPrivateGoal", type="trigger-private")

    assert (await scenario.given(ROSE, goal_id=private)).goal_id == private


async def test_a_ticket_names_the_funding_or_its_show(scenario: Scenario) -> None:
    funding = await scenario.funding()
    show = await scenario.goal("ShowGoal", type="show", funding_goal_id=funding, ticket_product_id=TICKET)

    for named in (funding, show):
        asked = await scenario.given(TICKET, 2, goal_id=named)
        assert (asked.goal_id, asked.funding_goal_id, asked.amount_diamonds) == (named, funding, 268)


@pytest.mark.parametrize(("discount", "price"), [(0, 134), (33, 90), (99, 2)])
async def test_an_early_bird_pays_less_rounded_up(scenario: Scenario, discount: int, price: int) -> None:
    funding = await scenario.funding(ticket_product_type="earlybird", discount_percentage=discount)

    assert (await scenario.given(TICKET, goal_id=funding)).amount_diamonds == price


async def test_what_does_not_fit_is_refused_and_changes_nothing(scenario: Scenario) -> None:
    funding = await scenario.funding()
    private = await scenario.goal("TriggerPrivateGoal", type="trigger-private")
    over = await scenario.funding()
    other = Scenario(scenario.harness)
    await other.begin()
    foreign = await other.funding()
    await scenario.harness.handle(_ended(scenario, over))

    answers = {
        "other ticket": await scenario.give(OTHER_TICKET, goal_id=funding),
        "not a show": await scenario.give(TICKET, goal_id=private),
        "over": await scenario.give(TICKET, goal_id=over),
        "foreign": await scenario.give(TICKET, goal_id=foreign),
        "no goal": await scenario.give(TICKET),
        "no goal, unknown session": await scenario.give(TICKET, session_id=ids.new_id()),
        "unknown goal": await scenario.give(TICKET, goal_id=ids.new_id()),
        "unknown product": await scenario.give("livestream-gift_nothing"),
        "unknown session": await scenario.give(session_id=ids.new_id()),
    } | {f"count {count}": await scenario.give(ROSE, count) for count in (0, 101, 1.5, "1", None, 10**24)}

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
    assert await scenario.harness.published() == []


async def test_only_its_ticket_is_given_for_a_show_and_no_performance_for_a_private_goal(scenario: Scenario) -> None:
    castle = "livestream-gift_castle"
    careless = await scenario.funding(ticket_product_id=castle)
    funding = await scenario.funding()
    show = await scenario.goal("ShowGoal", type="show", funding_goal_id=funding, ticket_product_id=TICKET)
    private = await scenario.goal("TriggerPrivateGoal", type="trigger-private")

    answers = [
        await scenario.give(castle, goal_id=careless),
        await scenario.give(ROSE, goal_id=funding),
        await scenario.give(ROSE, goal_id=show),
        await scenario.give(SONG, goal_id=private),
        await scenario.give("karaoke-cheer", goal_id=private),
    ]

    assert [refusal(answer) for answer in answers] == ["409 not-a-ticket"] * 3 + ["409 needs-a-performance"] * 2
    assert await scenario.harness.published() == []


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("KaraokeGoal", "karaoke"),
        ("ExclusiveGoal", "exclusive"),
        ("TriggerExclusiveGoal", "trigger-exclusive"),
        ("GoalOfTomorrow", "of-tomorrow"),
    ],
)
async def test_a_goal_that_takes_no_gifts_says_so_at_once(scenario: Scenario, kind: Any, context: str) -> None:
    goal = await scenario.goal(kind, type=context)

    answers = [await scenario.give(ROSE, goal_id=goal), await scenario.give(TICKET, goal_id=goal)]

    assert [refusal(answer) for answer in answers] == ["409 takes-no-gifts", "409 not-a-show"]


async def test_who_is_blocked_gives_nothing_whatever_it_is_until_unblocked(scenario: Scenario) -> None:
    pair = {"streamer_id": scenario.streamer, "viewer_id": scenario.viewer}
    funding = await scenario.funding()
    private = await scenario.goal("TriggerPrivateGoal", type="trigger-private")
    wishes: tuple[dict[str, Any], ...] = (
        {"product": ROSE},
        {"product": SONG},
        {"product": TICKET, "goal_id": funding},
        {"product": ROSE, "goal_id": private},
        {"product": ROSE, "goal_id": ids.new_id()},
    )
    await scenario.harness.handle(ViewerBlockedV1(**pair))
    answers = [await scenario.give(**wish) for wish in wishes]
    scenario.viewer, blocked = ids.new_id(), scenario.viewer
    other = await scenario.give(ROSE)
    scenario.viewer = blocked
    await scenario.harness.handle(ViewerUnblockedV1(**pair))
    after = await scenario.give(ROSE)

    assert [refusal(answer) for answer in answers] == ["403 blocked-by-streamer"] * 5
    assert (other.status_code, after.status_code) == (202, 202)


async def test_nobody_gives_to_themselves(scenario: Scenario) -> None:
    scenario.viewer = scenario.streamer

    assert refusal(await scenario.give(ROSE)) == "403 own-session"


async def test_while_a_session_is_somebodys_alone_nobody_else_gives(scenario: Scenario) -> None:
    viewer, alone = scenario.viewer, ids.new_id()
    private = await scenario.goal("TriggerPrivateGoal", type="trigger-private")
    await scenario.exclusive_to(alone)
    others = [await scenario.give(SONG), await scenario.give(ROSE, goal_id=private)]
    scenario.viewer = alone
    theirs = await scenario.give(SONG)
    await scenario.exclusive_to()
    scenario.viewer = viewer
    again = await scenario.give(SONG)

    assert [refusal(answer) for answer in others] == ["409 exclusive-to-another"] * 2
    assert (theirs.status_code, again.status_code) == (202, 202)


async def test_a_gift_in_a_1_on_1_is_two_peoples_and_none_is_held_for_a_private_goal(
    scenario: Scenario,
) -> None:
    private = await scenario.goal("TriggerPrivateGoal", type="trigger-private")
    before = await scenario.given(ROSE)
    await scenario.exclusive_to(scenario.viewer)
    refused = await scenario.give(ROSE, goal_id=private)
    alone = await scenario.given(ROSE)
    await scenario.exclusive_to()
    after = await scenario.given(ROSE, goal_id=private)
    await scenario.harness.handle(_paid(scenario, alone), _paid(scenario, before))

    assert refusal(refused) == "409 session-exclusive"
    assert [gift.exclusive_to for gift in (before, alone, after)] == [None, scenario.viewer, None]
    sent = [event for event in await scenario.harness.take() if isinstance(event, GiftSentV1)]
    assert [gift.exclusive_to for gift in sent] == [scenario.viewer, None]


async def test_a_session_is_over_at_its_maximum_though_nobody_said_so(harness_of: HarnessOf) -> None:
    scenario = Scenario(await harness_of(SERVICE, SESSION_MAX_SECONDS=100))
    await scenario.begin()
    scenario.harness.clock.advance(99.999)
    in_time = await scenario.give(ROSE)
    scenario.harness.clock.advance(0.001)
    late = await scenario.give(ROSE)

    assert (in_time.status_code, refusal(late)) == (202, "409 session-over")


async def test_a_session_is_over_when_sessions_said_it_would_be(harness_of: HarnessOf) -> None:
    scenario = Scenario(await harness_of(SERVICE, SESSION_MAX_SECONDS=1_000))
    await scenario.begin(exp=scenario.harness.now + timedelta(seconds=100))
    await scenario.exclusive_to()  # news that do not say it
    scenario.harness.clock.advance(99.999)
    in_time = await scenario.give(ROSE)
    scenario.harness.clock.advance(0.001)
    late = await scenario.give(ROSE)

    assert (in_time.status_code, refusal(late)) == (202, "409 session-over")


async def test_a_gift_waits_for_its_money_as_long_as_a_proposal(harness_of: HarnessOf) -> None:
    scenario = Scenario(await harness_of(SERVICE, PROPOSAL_SECONDS=7.5))
    await scenario.begin()
    funding = await scenario.funding()

    asked = [await scenario.given(ROSE), await scenario.given(TICKET, goal_id=funding)]

    assert [gift.exp for gift in asked] == [scenario.harness.now + timedelta(seconds=7.5)] * 2


async def test_nothing_costs_more_than_was_agreed_to(scenario: Scenario) -> None:
    funding = await scenario.funding(ticket_product_type="earlybird", discount_percentage=33)
    enough = [
        await scenario.give(TICKET, 2, goal_id=funding, max_amount_diamonds=180),
        await scenario.give(ROSE, 3, max_amount_diamonds=30),
        await scenario.give(ROSE, 3, max_amount_diamonds=None),
    ]
    dear = [
        await scenario.give(TICKET, 2, goal_id=funding, max_amount_diamonds=179),
        await scenario.give(ROSE, 3, max_amount_diamonds=0),
    ]
    wrong = [await scenario.give(ROSE, max_amount_diamonds=amount) for amount in (-1, 1.5, "10", True)]

    assert [answer.json()["amount_diamonds"] for answer in enough] == [180, 30, 30]
    assert [(refusal(answer), answer.json()["amount_diamonds"]) for answer in dear] == [
        ("409 price-changed", 180), ("409 price-changed", 30),
    ]  # fmt: skip
    assert {refusal(answer) for answer in wrong} == {"422 invalid-request"}


async def test_nothing_is_given_after_the_session_or_at_the_goals_exp(scenario: Scenario) -> None:
    funding = await scenario.funding()
    scenario.harness.clock.advance(300)
    late = await scenario.give(TICKET, goal_id=funding)
    await scenario.end()
    await scenario.begin()  # an earlier fact that arrives later changes nothing
    over = await scenario.give(ROSE)

    assert (late.json()["type"], over.json()["type"]) == ("/problems/goal-over", "/problems/session-over")


async def test_a_held_gift_is_sent_when_goals_counts_it_and_failed_when_it_does_not(scenario: Scenario) -> None:
    funding = await scenario.funding()
    counted, refused, unpaid = [await scenario.given(TICKET, goal_id=funding) for _ in range(3)]
    escrow: dict[str, Any] = {**scenario.of, "goal_id": funding, "escrow_id": f"show_funding:{funding}"}
    earning = ids.new_id()
    held: dict[str, Any] = {**escrow, "user_id": scenario.viewer, "contribution_id": earning, "earning_id": earning}

    await scenario.harness.handle(
        GoalProgressedV1(
            **held, kind="ShowFundingGoal", gift_id=counted.gift_id, count=1, progress=1, target=10, reached=False
        ),
        GoalContributionRejectedV1(**held, gift_id=refused.gift_id, reason="goal_over"),
        EscrowRejectedV1(
            **escrow, buyer_id=scenario.viewer, amount_diamonds=134, cause_id=unpaid.gift_id, gift_id=unpaid.gift_id,
            reason="insufficient_diamonds",
        ),
    )  # fmt: skip

    assert [type(event) for event in await scenario.harness.take()] == [GiftSentV1, GiftFailedV1, GiftFailedV1]
    states = [await scenario.read(gift.gift_id) for gift in (counted, refused, unpaid)]
    assert [(state["status"], state["reason"]) for state in states] == [
        ("sent", None),
        ("failed", "goal_over"),
        ("failed", "insufficient_diamonds"),
    ]


async def test_a_failed_gift_says_why(scenario: Scenario) -> None:
    funding = await scenario.funding()
    asked = await scenario.given(TICKET, goal_id=funding)

    await scenario.harness.handle(_unheld(scenario, asked))

    [told] = await scenario.harness.take()
    assert isinstance(told, GiftFailedV1)
    assert (told.gift_id, told.reason) == (asked.gift_id, "expired")


@pytest.mark.parametrize("refund_first", [False, True])
async def test_a_gift_whose_money_came_back_is_refunded_in_whatever_order_it_is_told(
    scenario: Scenario,
    refund_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    funding = await scenario.funding()
    lapsed, uncounted = [await scenario.given(TICKET, goal_id=funding) for _ in range(2)]
    history = [
        _counted(scenario, lapsed),
        _refunded(scenario, lapsed, "no_show"),
        GoalContributionRejectedV1(**_held(scenario, uncounted), reason="goal_over"),
        _refunded(scenario, uncounted, "contribution_rejected"),
    ]

    await scenario.harness.handle(*(reversed(history) if refund_first else history))

    assert {type(event) for event in await scenario.harness.take()} == {GiftSentV1, GiftFailedV1}
    assert [await _became(scenario, gift) for gift in (lapsed, uncounted)] == [
        ("refunded", "no_show"),
        ("failed", "goal_over"),
    ]


async def test_a_gift_that_never_cost_anything_is_forgotten_and_late_news_of_it_changes_nothing(
    scenario: Scenario,
) -> None:
    funding = await scenario.funding()
    unheld, unpaid, uncounted, sent = (
        await scenario.given(TICKET, goal_id=funding),
        await scenario.given(ROSE),
        await scenario.given(TICKET, goal_id=funding),
        await scenario.given(TICKET, goal_id=funding),
    )
    payment = PaymentFailedV1(
        **scenario.of, purpose="gift", payer_id=scenario.viewer, amount_diamonds=10, payment_id=ids.new_id(),
        gift_id=unpaid.gift_id, reason="insufficient_diamonds",
    )  # fmt: skip
    rejected = GoalContributionRejectedV1(**_held(scenario, uncounted), reason="goal_over")
    await scenario.harness.handle(_unheld(scenario, unheld), payment, rejected, _counted(scenario, sent))

    async with scenario.harness.tx() as tx:
        forgotten = await tx.find(store.GIFTS, {"unpaid_at": {"$type": "date"}})
        assert {gift.id for gift in forgotten} == {unheld.gift_id, unpaid.gift_id}
        for gift in forgotten:  # as MongoDB does, by the index on this field
            tx.delete(store.GIFTS, gift.id)
    await scenario.harness.take()
    await scenario.harness.handle(_unheld(scenario, unheld), payment, _counted(scenario, unheld))
    assert await scenario.harness.take() == []
    assert {tuple(index.keys) for index in store.GIFTS.indexes if index.expire_after_seconds} == {("unpaid_at",)}


def test_the_products_are_those_that_services_have_agreed_on() -> None:
    assert {product.id for product in GIFTS} == GIFT_PRODUCT_IDS
    assert {product.id for product in GIFTS if product.is_ticket} == TICKET_PRODUCT_IDS


async def test_a_direct_gift_follows_its_payment_once(scenario: Scenario) -> None:
    good, bad = await scenario.given(ROSE), await scenario.given(ROSE)
    paid: dict[str, Any] = {**scenario.of, "purpose": "gift", "payer_id": scenario.viewer, "amount_diamonds": 10}
    history = (
        PaymentSucceededV1(**paid, payment_id=ids.new_id(), gift_id=good.gift_id),
        PaymentFailedV1(**paid, payment_id=ids.new_id(), gift_id=bad.gift_id, reason="insufficient_diamonds"),
    )

    await scenario.harness.handle(*history, *history)

    assert [type(event) for event in await scenario.harness.take()] == [GiftSentV1, GiftFailedV1]
    assert (await scenario.read(good.gift_id))["status"] == "sent"
    assert (await scenario.read(bad.gift_id))["reason"] == "insufficient_diamonds"


async def test_a_gift_exists_for_its_sender_only(scenario: Scenario) -> None:
    asked = await scenario.given(ROSE)

    answer = await scenario.harness.client(scenario.streamer).get(f"/gifts/{asked.gift_id}")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/gift-not-found")


async def test_products_come_page_by_page(scenario: Scenario) -> None:
    client = scenario.harness.client(scenario.viewer)
    found: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = (await client.get("/shop/products", params={"limit": 4, **after})).json()
        found += [item["product_id"] for item in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}

    assert found == [*(product.id for product in GIFTS), *(product.id for product in SOLD)]
    assert (await client.get("/shop/products", params={"after": "nonsense"})).status_code == 422


def _ended(scenario: Scenario, goal_id: str) -> GoalEndedV1:
    return GoalEndedV1(
        **scenario.of, goal_id=goal_id, kind="ShowFundingGoal", active=False, progress=0, levels=(),
        conditions=Conditions(session_id=scenario.session), context=Context(type="show-funding"),
        exp=scenario.harness.now, ended_at=scenario.harness.now, triggerer=None,
        metadata=Metadata(user_id=scenario.streamer), outcome="unfunded",
    )  # fmt: skip


def refusal(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['type'].removeprefix('/problems/')}"


async def _became(scenario: Scenario, gift: GiftRequestedV1) -> tuple[str, str | None]:
    seen = await scenario.read(gift.gift_id)
    return seen["status"], seen["reason"]


def _of(scenario: Scenario, gift: GiftRequestedV1) -> dict[str, Any]:
    escrow_id = f"show_funding:{gift.funding_goal_id}"
    return {**scenario.of, "goal_id": gift.goal_id, "escrow_id": escrow_id, "gift_id": gift.gift_id}


def _paid(scenario: Scenario, gift: GiftRequestedV1) -> PaymentSucceededV1:
    return PaymentSucceededV1(
        **scenario.of,
        payment_id=ids.new_id(),
        purpose="gift",
        payer_id=scenario.viewer,
        amount_diamonds=gift.amount_diamonds,
        gift_id=gift.gift_id,
    )


def _held(scenario: Scenario, gift: GiftRequestedV1) -> dict[str, Any]:
    earning: dict[str, Any] = {"contribution_id": gift.gift_id, "earning_id": gift.gift_id}
    return {**_of(scenario, gift), **earning, "user_id": gift.sender_id}


def _counted(scenario: Scenario, gift: GiftRequestedV1) -> GoalProgressedV1:
    held = _held(scenario, gift)
    return GoalProgressedV1(**held, kind="ShowFundingGoal", count=1, progress=1, target=10, reached=False)


def _unheld(scenario: Scenario, gift: GiftRequestedV1) -> EscrowRejectedV1:
    asked: dict[str, Any] = {"buyer_id": gift.sender_id, "amount_diamonds": gift.amount_diamonds}
    return EscrowRejectedV1(**_of(scenario, gift), **asked, cause_id=gift.gift_id, reason="expired")


def _refunded(scenario: Scenario, gift: GiftRequestedV1, reason: Any) -> EscrowFailedV1:
    paid: dict[str, Any] = {"buyer_id": gift.sender_id, "amount_diamonds": gift.amount_diamonds}
    return EscrowFailedV1(**_of(scenario, gift), **paid, earning_id=gift.gift_id, reason=reason)
