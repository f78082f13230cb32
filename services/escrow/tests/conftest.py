"""One invitation, and everything that can be said about it: what escrow's tests share."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from chassis import ids
from chassis_testing.service import ServiceHarness
from contracts import (
    Event,
    GiftRequestedV1,
    GoalContributionRejectedV1,
    GoalEndedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    GoalProposedV1,
    SessionGoalClosedV1,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
)
from contracts.goals import Conditions, Context, GoalKind, LapseReason, Metadata, Outcome
from escrow.domain import escrows, ledger
from escrow.service import SERVICE
from escrow.store import accounts

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
PRICE = 500


class Story:
    """One invitation of one viewer in one session, and everything the other services can say about it."""

    def __init__(self, harness: ServiceHarness) -> None:
        self.harness = harness
        self.session, self.streamer, self.viewer, self.goal = (ids.new_id() for _ in range(4))
        self.exclusive = ids.new_id()
        self.escrow_id = f"trigger_exclusive:{self.goal}"
        self.earning = escrows.earning_id(self.escrow_id, self.goal)
        self.of: dict[str, Any] = {"session_id": self.session, "streamer_id": self.streamer}

    def proposed(self, amount: int = PRICE) -> GoalProposedV1:
        return GoalProposedV1(
            **self.of,
            goal_id=self.goal,
            kind="TriggerExclusiveGoal",
            conditions=Conditions(session_id=self.session, exclusive_to=self.viewer),
            payer_id=self.viewer,
            amount_diamonds=amount,
            prepaid_duration=300,
            exp=self.harness.now + timedelta(seconds=30),
        )

    def accepted(self) -> GoalProgressedV1:
        return GoalProgressedV1(
            **self.of,
            goal_id=self.goal,
            kind="TriggerExclusiveGoal",
            user_id=self.viewer,
            contribution_id=self.earning,
            earning_id=self.earning,
            escrow_id=self.escrow_id,
            count=1,
            progress=1,
            target=1,
            reached=True,
        )

    def rejected(self) -> GoalContributionRejectedV1:
        return GoalContributionRejectedV1(
            **self.of,
            goal_id=self.goal,
            user_id=self.viewer,
            contribution_id=self.earning,
            earning_id=self.earning,
            escrow_id=self.escrow_id,
            reason="expired",
        )

    def ended(self, kind: GoalKind, outcome: Outcome) -> GoalEndedV1:
        own = kind == "TriggerExclusiveGoal"
        return GoalEndedV1(
            **self.of,
            goal_id=self.goal if own else self.exclusive,
            kind=kind,
            active=False,
            progress=1,
            levels=(),
            conditions=Conditions(session_id=self.session, exclusive_to=self.viewer),
            context=Context(
                type="trigger-exclusive" if own else "exclusive",
                exclusive_to=self.viewer,
                trigger_exclusive_goal_id=None if own else self.goal,
            ),
            exp=self.harness.now,
            ended_at=self.harness.now,
            triggerer=None,
            metadata=Metadata(user_id=self.streamer, prepaid_duration=300),
            outcome=outcome,
        )

    def lapsed(self, reason: LapseReason) -> GoalLapsedV1:
        return GoalLapsedV1(**self.of, goal_id=self.goal, kind="TriggerExclusiveGoal", reason=reason)

    def closed(self, *, kept: bool, outcome: Outcome = "completed") -> SessionGoalClosedV1:
        return SessionGoalClosedV1(
            **self.of,
            goal_id=self.exclusive,
            kind="ExclusiveGoal",
            outcome=outcome,
            kept=kept,
            trigger_exclusive_goal_id=self.goal,
        )

    def blocked(self) -> ViewerBlockedV1:
        return ViewerBlockedV1(streamer_id=self.streamer, viewer_id=self.viewer)

    def unblocked(self) -> ViewerUnblockedV1:
        return ViewerUnblockedV1(streamer_id=self.streamer, viewer_id=self.viewer)

    def payment(self, amount: int = 200, **changes: Any) -> SessionPaymentRequestedV1:
        facts: dict[str, Any] = {
            **self.of, "payment_id": ids.new_id(), "payer_id": self.viewer,
            "amount_diamonds": amount, "duration": 60, "preset": "exclusive",
        }  # fmt: skip
        return SessionPaymentRequestedV1(**(facts | changes))

    def reversal(self, of: SessionPaymentRequestedV1, amount: int | None = None) -> SessionPaymentReversedV1:
        return SessionPaymentReversedV1(
            **self.of,
            payment_id=of.payment_id,
            payer_id=of.payer_id,
            amount_diamonds=of.amount_diamonds if amount is None else amount,
            reason="session_ended",
        )

    def gift(self, amount: int = 200, *, funding: str | None = None, **changes: Any) -> GiftRequestedV1:
        facts: dict[str, Any] = {
            **self.of, "gift_id": ids.new_id(), "sender_id": self.viewer, "product_id": "livestream-gift_rose",
            "categories": (), "count": 1, "amount_diamonds": amount, "goal_id": funding, "funding_goal_id": funding,
        }  # fmt: skip
        return GiftRequestedV1(**(facts | changes))

    async def credit(self, amount: int) -> None:
        answer = await self.harness.client(ids.new_id(), "OPS").post(
            f"/wallets/{self.viewer}/credit", json={"amount_diamonds": amount}
        )
        assert answer.status_code == 201, answer.text

    async def money(self) -> dict[str, int]:
        async with self.harness.tx() as tx:
            names = {
                "wallet": ledger.wallet(self.viewer),
                "escrow": ledger.escrow(self.escrow_id),
                "earnings": ledger.earnings(self.streamer),
                "revenue": ledger.REVENUE,
            }
            balances = await accounts.balances_diamonds(tx, list(names.values()))
            assert (await accounts.total(tx)).diamonds == 0
        return {name: balances[account] for name, account in names.items() if balances[account]}

    async def held(self) -> None:
        """The viewer's invitation is paid."""
        await self.credit(PRICE)
        await self.harness.handle(self.proposed())
        await self.harness.take()

    async def take(self, *types: type[Event]) -> list[Event]:
        return [event for event in await self.harness.take() if isinstance(event, types or Event)]


@pytest.fixture
async def story(harness_of: HarnessOf) -> Story:
    return Story(await harness_of(SERVICE))


@pytest.fixture
def story_with(harness_of: HarnessOf) -> Callable[..., Awaitable[Story]]:
    """A story under other settings."""

    async def start(**env: object) -> Story:
        return Story(await harness_of(SERVICE, **env))

    return start
