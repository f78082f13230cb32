"""A session on air, and the events that goals and escrow would tell of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest

from chassis import ids
from chassis_testing.service import ServiceHarness
from contracts import (
    Conditions,
    Context,
    EscrowFailedV1,
    Event,
    GoalCreatedV1,
    GoalEndedV1,
    GoalExtendedV1,
    GoalExtensionRejectedV1,
    GoalLapsedV1,
    Level,
    Metadata,
    Outcome,
    PaymentFailedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
)
from sessions import store
from sessions.domain.payments import Payment
from sessions.domain.session import Session
from sessions.domain.viewer import Viewer, holder_id
from sessions.service import SERVICE
from sessions.store import load

STEP = 60
PREPAID = 300

HarnessOf = Callable[..., Awaitable[ServiceHarness]]
E = TypeVar("E", bound=Event)


@dataclass
class LiveSession:
    """A session on air, and the events that goals and escrow would tell of it."""

    harness: ServiceHarness
    session_id: str
    streamer_id: str
    viewer_id: str = field(default_factory=ids.new_id)

    def at(self, seconds: float) -> datetime:
        return self.harness.now + timedelta(seconds=seconds)

    def _of(self, goal_id: str) -> dict[str, Any]:
        return {"session_id": self.session_id, "streamer_id": self.streamer_id, "goal_id": goal_id}

    def _conditions(self, viewer_id: str | None) -> Conditions:
        return Conditions(session_id=self.session_id, exclusive_to=viewer_id or self.viewer_id)

    def _invitation(self, viewer_id: str | None) -> Context:
        return Context(type="trigger-exclusive", exclusive_to=viewer_id or self.viewer_id, duration=PREPAID)

    def _exclusive(self, invitation_id: str, viewer_id: str | None) -> Context:
        return Context(
            type="exclusive", exclusive_to=viewer_id or self.viewer_id, trigger_exclusive_goal_id=invitation_id
        )

    def invited(self, goal_id: str, viewer_id: str | None = None) -> GoalCreatedV1:
        return GoalCreatedV1(
            **self._of(goal_id),
            kind="TriggerExclusiveGoal",
            active=True,
            conditions=self._conditions(viewer_id),
            context=self._invitation(viewer_id),
            levels=(),
            metadata=Metadata(user_id=self.streamer_id, prepaid_duration=PREPAID),
            nbf=self.harness.now,
            exp=self.at(30),
        )

    def answered(self, goal_id: str, outcome: Outcome, viewer_id: str | None = None) -> GoalEndedV1:
        return GoalEndedV1(
            **self._of(goal_id),
            kind="TriggerExclusiveGoal",
            active=False,
            progress=1,
            levels=(),
            conditions=self._conditions(viewer_id),
            context=self._invitation(viewer_id),
            exp=self.harness.now,
            ended_at=self.harness.now,
            triggerer="client",
            metadata=Metadata(
                user_id=self.streamer_id,
                prepaid_duration=PREPAID,
                agreed=self.harness.now if outcome == "agreed" else None,
            ),
            outcome=outcome,
        )

    def began(self, goal_id: str, invitation_id: str, viewer_id: str | None = None) -> GoalCreatedV1:
        return GoalCreatedV1(
            **self._of(goal_id),
            kind="ExclusiveGoal",
            active=True,
            conditions=self._conditions(viewer_id),
            context=self._exclusive(invitation_id, viewer_id),
            levels=(Level(title="hello", target=1),),
            metadata=Metadata(user_id=self.streamer_id, prepaid_duration=PREPAID),
            nbf=self.harness.now,
            exp=self.at(STEP + PREPAID),
        )

    def over(
        self, goal_id: str, invitation_id: str, outcome: Outcome = "completed", viewer_id: str | None = None
    ) -> GoalEndedV1:
        return GoalEndedV1(
            **self._of(goal_id),
            kind="ExclusiveGoal",
            active=False,
            progress=0,
            levels=(),
            conditions=self._conditions(viewer_id),
            context=self._exclusive(invitation_id, viewer_id),
            exp=self.harness.now,
            ended_at=self.harness.now,
            triggerer=None,
            metadata=Metadata(user_id=self.streamer_id, prepaid_duration=PREPAID),
            outcome=outcome,
        )

    def extended(self, goal_id: str, exp_seconds: float, payment_id: str | None = None) -> GoalExtendedV1:
        return GoalExtendedV1(
            **self._of(goal_id),
            viewers=(self.viewer_id,),
            nbf=self.harness.now,
            duration=STEP,
            exp=self.at(exp_seconds),
            payment_id=payment_id,
        )

    def lapsed(self, goal_id: str) -> GoalLapsedV1:
        return GoalLapsedV1(**self._of(goal_id), kind="TriggerExclusiveGoal", reason="no_exclusive")

    def refunded(self, goal_id: str) -> EscrowFailedV1:
        return EscrowFailedV1(
            **self._of(goal_id),
            escrow_id=f"trigger_exclusive:{goal_id}",
            earning_id=ids.derived_id("earning", goal_id),
            buyer_id=self.viewer_id,
            amount_diamonds=100,
            reason="cancelled",
        )

    def paid(self, payment: Payment) -> PaymentSucceededV1:
        return PaymentSucceededV1(**self._about(payment), duration=payment.duration, preset=payment.preset)

    def not_paid(self, payment: Payment) -> PaymentFailedV1:
        return PaymentFailedV1(**self._about(payment), reason="insufficient_diamonds")

    def paid_back(self, payment: Payment) -> PaymentReversedV1:
        return PaymentReversedV1(**self._about(payment))

    def _about(self, payment: Payment) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "streamer_id": self.streamer_id,
            "payment_id": payment.id,
            "purpose": "minutes",
            "payer_id": payment.payer_id,
            "amount_diamonds": payment.amount_diamonds,
        }

    def rejected(self, goal_id: str, payment: Payment) -> GoalExtensionRejectedV1:
        return GoalExtensionRejectedV1(**self._of(goal_id), payment_id=payment.id)

    async def asked(self, payer_id: str, exclusive_goal_id: str | None = None, steps: int = 1) -> Payment:
        """A payment of one step, or more, that waits for escrow."""
        payment = Payment(
            id=ids.new_id(),
            session_id=self.session_id,
            streamer_id=self.streamer_id,
            payer_id=payer_id,
            amount_diamonds=10 * steps,
            duration=STEP * steps,
            preset="exclusive" if exclusive_goal_id else "sd",
            exclusive_goal_id=exclusive_goal_id,
        )
        async with self.harness.tx() as tx:
            tx.insert(store.PAYMENTS, payment)
        return payment

    async def session(self) -> Session:
        async with self.harness.tx() as tx:
            return await load.session(tx, self.session_id)

    async def viewer(self, viewer_id: str | None = None) -> Viewer | None:
        async with self.harness.tx() as tx:
            return await tx.get(store.VIEWERS, holder_id(self.session_id, viewer_id or self.viewer_id))

    async def payment(self, payment: Payment) -> Payment:
        async with self.harness.tx() as tx:
            return await load.payment(tx, payment.id)

    async def published(self, kind: type[E]) -> list[E]:
        return [event for event in await self.harness.take() if isinstance(event, kind)]

    async def end(self) -> None:
        answer = await self.harness.client(self.streamer_id, "CREATOR").delete(f"/sessions/{self.session_id}")
        assert answer.status_code == 204, answer.text

    async def agree(self) -> str:
        """An invitation that was just agreed to."""
        goal_id = ids.new_id()
        await self.harness.handle(self.invited(goal_id), self.answered(goal_id, "agreed"))
        return goal_id

    async def begin(self) -> tuple[str, str]:
        """An invitation and the exclusive that has just begun."""
        invitation_id, goal_id = await self.agree(), ids.new_id()
        await self.harness.handle(self.began(goal_id, invitation_id))
        return invitation_id, goal_id


LiveSessionOf = Callable[..., Awaitable[LiveSession]]


@pytest.fixture
def live_session(harness_of: HarnessOf) -> LiveSessionOf:
    """A session on air, with settings."""

    async def begin(**env: Any) -> LiveSession:
        harness = await harness_of(SERVICE, **env)
        streamer_id = ids.new_id()
        prices = {"sd": 10, "exclusive": 20}
        answer = await harness.client(streamer_id, "CREATOR").post("/sessions", json={"prices": prices})
        assert answer.status_code == 201, answer.text
        await harness.take()
        return LiveSession(harness, answer.json()["session_id"], streamer_id)

    return begin


@pytest.fixture
async def live(live_session: LiveSessionOf) -> LiveSession:
    """A session on air."""
    return await live_session()
