"""What the escrow service tells: where the money is (SPEC §5)."""

from typing import Literal

from contracts.event import Event, SessionEvent
from contracts.sessions import ReversalReason
from contracts.values import Count, Diamonds, EscrowId, ObjectIdStr, Open, PricePreset, Seconds, Token

Verdict = Literal["release", "refund"]
Purpose = Literal["minutes", "gift"]
HoldRejection = Literal["insufficient_diamonds", "expired", "blocked"]
PaymentFailure = Literal["insufficient_diamonds", "expired", "blocked"]
RefundReason = Literal[
    "contribution_rejected",  # goals did not count it
    "refused",
    "timed_out",
    "cancelled",  # the outcome of a goal that was not completed
    "no_show",
    "no_exclusive",
    "session_ended",
    "given_up",  # why a goal lapsed
    "not_kept",  # sessions' judgement of a completed goal
    "blocked",  # the streamer blocked the buyer before it was settled
]


class _EscrowEvent(SessionEvent):
    """An escrow, and the goal that made its promise."""

    goal_id: ObjectIdStr
    escrow_id: EscrowId


class EscrowHeldV1(_EscrowEvent, type="escrow.held.v1", topic="escrow", key="session_id", subject="earning_id"):
    """A buyer's money is out of the wallet and safe until the promise is judged. Goals answers each hold, once.

    `count` is the number of tickets or gifts paid, `cause_id` the goal (an invitation) or gift that asked for it.
    """

    earning_id: ObjectIdStr
    buyer_id: ObjectIdStr
    amount_diamonds: Diamonds
    count: Count
    cause_id: Token
    gift_id: ObjectIdStr | None = None


class EscrowRejectedV1(_EscrowEvent, type="escrow.rejected.v1", topic="escrow", key="session_id", subject="escrow_id"):
    """No money was held for this cause, and none will be."""

    buyer_id: ObjectIdStr
    amount_diamonds: Diamonds
    cause_id: Token
    gift_id: ObjectIdStr | None = None
    reason: Open[HoldRejection]


class EscrowCompletedV1(
    _EscrowEvent, type="escrow.completed.v1", topic="escrow", key="session_id", subject="earning_id"
):
    """The promise was kept: one buyer's money went to the streamer. One per earning."""

    earning_id: ObjectIdStr
    buyer_id: ObjectIdStr
    amount_diamonds: Diamonds
    reason: Open[Literal["kept"]]
    gift_id: ObjectIdStr | None = None


class EscrowFailedV1(_EscrowEvent, type="escrow.failed.v1", topic="escrow", key="session_id", subject="earning_id"):
    """One buyer's money is back in the wallet, all of it. One per earning."""

    earning_id: ObjectIdStr
    buyer_id: ObjectIdStr
    amount_diamonds: Diamonds
    reason: Open[RefundReason]
    gift_id: ObjectIdStr | None = None


class EscrowSettledV1(_EscrowEvent, type="escrow.settled.v1", topic="escrow", key="session_id", subject="escrow_id"):
    """All that an escrow held is settled: so many earnings were released, so many refunded."""

    verdict: Verdict
    released: Count
    refunded: Count


class WalletCreatedV1(Event, type="wallet.created.v1", topic="escrow", key="user_id", subject="user_id"):
    """A user has a wallet, with `amount_diamonds` in it at first."""

    user_id: ObjectIdStr
    amount_diamonds: Diamonds
    cause_id: Token


class WalletCreditedV1(Event, type="wallet.credited.v1", topic="escrow", key="user_id", subject="user_id"):
    """Diamonds came into a wallet from outside: `cause_id` is the transfer, or the `order_id:item_id` bought.

    `credited_by` is the operator who gave them; nobody gave what was bought.
    """

    user_id: ObjectIdStr
    amount_diamonds: Diamonds
    cause_id: Token
    credited_by: ObjectIdStr | None = None


class WalletDebitedV1(Event, type="wallet.debited.v1", topic="escrow", key="user_id", subject="user_id"):
    """Diamonds of a refunded order left the wallet again: `cause_id` is the `order_id:item_id` that had brought them.

    `amount_diamonds` is what was taken now; `missing_diamonds` are still missing after it. What comes back into the
    wallet later is taken for them: told again, with `from_cause_id`, the cause of what came back.
    """

    user_id: ObjectIdStr
    amount_diamonds: Diamonds
    missing_diamonds: Diamonds
    cause_id: Token
    from_cause_id: Token | None = None


class _PaymentEvent(SessionEvent):
    """A payment straight to the streamer: minutes of watching, or a gift."""

    payment_id: ObjectIdStr
    purpose: Open[Purpose]
    payer_id: ObjectIdStr
    amount_diamonds: Diamonds
    duration: Seconds | None = None
    preset: Open[PricePreset] | None = None
    exclusive_goal_id: ObjectIdStr | None = None
    gift_id: ObjectIdStr | None = None


class PaymentSucceededV1(
    _PaymentEvent, type="payment.succeeded.v1", topic="escrow", key="session_id", subject="payment_id"
):
    """The payer's diamonds are the streamer's."""


class PaymentFailedV1(_PaymentEvent, type="payment.failed.v1", topic="escrow", key="session_id", subject="payment_id"):
    """Nothing was paid, and nothing will be."""

    reason: Open[PaymentFailure] | None = None


class PaymentReversedV1(
    _PaymentEvent, type="payment.reversed.v1", topic="escrow", key="session_id", subject="payment_id"
):
    """Of a payment that had succeeded, `amount_diamonds` were given back: a part, or all that was left of it."""

    reason: Open[ReversalReason] | None = None
