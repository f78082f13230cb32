"""What bench (a) is about: invitations that are paid and accepted, and the `goal.ended` that refuses each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chassis import ids
from chassis.storage.collection import Collection
from chassis.storage.mongo import Database, Raw
from contracts import GoalEndedV1
from contracts.goals import Conditions, Context, Metadata
from escrow import store
from escrow.domain import escrows, ledger
from escrow.domain.escrows import Earning, Escrow
from escrow.domain.ledger import Balance

PRICE = 500
AT = datetime(2026, 1, 31, 20, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Invitation:
    """One invitation, which will be refused."""

    goal: str
    session: str
    streamer: str
    viewer: str

    @property
    def escrow_id(self) -> str:
        """Where its price is held."""
        return f"trigger_exclusive:{self.goal}"

    @property
    def earning_id(self) -> str:
        """Its one earning."""
        return escrows.earning_id(self.escrow_id, self.goal)

    def refused(self) -> GoalEndedV1:
        """The end of it."""
        return GoalEndedV1(
            session_id=self.session,
            streamer_id=self.streamer,
            goal_id=self.goal,
            kind="TriggerExclusiveGoal",
            active=False,
            progress=1,
            levels=(),
            conditions=Conditions(session_id=self.session, exclusive_to=self.viewer),
            context=Context(type="trigger-exclusive", exclusive_to=self.viewer),
            exp=AT,
            ended_at=AT,
            triggerer=None,
            metadata=Metadata(user_id=self.streamer, prepaid_duration=300),
            outcome="refused",
        )

    def documents(self) -> dict[Collection[Any], list[Any]]:
        """What escrow has of it when it ends."""
        escrow = Escrow(self.escrow_id, self.goal, self.session, self.streamer, paid_diamonds=PRICE, open_earnings=1)
        earning = Earning(
            id=self.earning_id,
            escrow_id=self.escrow_id,
            buyer_id=self.viewer,
            cause_id=self.goal,
            amount_diamonds=PRICE,
            count=1,
            status="held",
            at=AT,
            accepted=True,
            session_id=self.session,
            streamer_id=self.streamer,
            goal_id=self.goal,
        )
        balances = [Balance(ledger.wallet(self.viewer)), Balance(ledger.escrow(self.escrow_id), PRICE)]
        return {store.ESCROWS: [escrow], store.EARNINGS: [earning], store.BALANCES: balances}


def invitations(count: int) -> list[Invitation]:
    """So many, each of its own session."""
    return [Invitation(*(ids.new_id() for _ in range(4))) for _ in range(count)]


async def prepare(database: Database, several: Sequence[Invitation]) -> None:
    """Store what escrow has when they end; `seen` is the anchors' inbox."""
    await database["seen"].create_index("at", expireAfterSeconds=86_400)
    for collection in (store.ESCROWS, store.EARNINGS, store.BALANCES):
        rows = [collection.to_raw(one, 1) for invitation in several for one in invitation.documents()[collection]]
        await database[collection.name].insert_many(rows)


async def final_state(database: Database) -> dict[str, list[Raw]]:
    """Everything that must be alike, whoever did it: all but ids made on the way, stamps and the time it was done."""
    state = {}
    for name in ("escrows", "earnings", "balances", "transfers"):
        rows = await database[name].find({}, {"_stamp": 0, "at": 0}).sort("_id", 1).to_list(None)
        state[name] = rows
    rows = (
        await database["outbox"]
        .find({}, {"key": 1, "value": 1, "topic": 1, "headers.ce_type": 1, "_id": 0})
        .to_list(None)
    )
    state["outbox"] = sorted(rows, key=lambda row: (row["key"], row["value"]))
    return state
