"""What the shop tells: orders, passes and gifts (SPEC §8)."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.event import Event, SessionEvent
from contracts.values import Count, Data, Diamonds, Instant, ObjectIdStr, Open, PassKind, ProductId, Seconds

Subtype = Literal["DiamondPackProduct", "UserProduct", "PassProduct", "GiftProduct"]
Gateway = Literal["sonet", "sandbox"]
GiftFailure = Literal[
    "insufficient_diamonds",
    "expired",  # escrow's reasons
    "goal_unknown",
    "goal_over",
    "other_session",
    "session_ended",
    "viewer_blocked",  # those of goals
]
OrderRefundReason = Literal["asked_for", "not_delivered", "paid_twice", "mistake", "disputed", "other"]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class Item(Data):
    """One line of an order, as it was resolved when the order was made. `diamonds` are those of one piece."""

    item_id: ObjectIdStr
    product_id: ProductId
    subtype: Open[Subtype] | None = None
    quantity: Count
    diamonds: Diamonds | None = None
    pass_kind: PassKind | None = None


class _OrderEvent(Event):
    """An order, whole. `amount` is in the smallest unit of `currency` (ISO 4217)."""

    order_id: ObjectIdStr
    user_id: ObjectIdStr
    items: Annotated[tuple[Item, ...], Field(max_length=100)]
    amount: Count
    currency: Currency
    gateway: Gateway


class OrderCreatedV1(_OrderEvent, type="order.created.v1", topic="shop", key="user_id", subject="order_id"):
    """A user is about to pay; nothing has been paid yet."""


class OrderPaidV1(_OrderEvent, type="order.paid.v1", topic="shop", key="user_id", subject="order_id"):
    """The gateway confirmed the money. Told once an order: what it bought may be granted."""


class OrderFulfilledV1(_OrderEvent, type="order.fulfilled.v1", topic="shop", key="user_id", subject="order_id"):
    """Every item of the order has been granted."""


class OrderFailedV1(_OrderEvent, type="order.failed.v1", topic="shop", key="user_id", subject="order_id"):
    """The order will not be paid."""


class RefundedItem(Item):
    """One line of what is taken back. `activated` pieces are in use and stay; null of diamonds: escrow says of them."""

    activated: Count | None = None


class OrderRefundedV1(_OrderEvent, type="order.refunded.v1", topic="shop", key="user_id", subject="order_id"):
    """An operator says that the buyer has the money back, given or fetched: what it bought is taken back.

    `items` is what had been paid for as it was ordered, so nothing of an order that never was.
    """

    items: Annotated[tuple[RefundedItem, ...], Field(max_length=100)]
    payment: Open[Literal["refunded", "charged_back"]]
    reason: Open[OrderRefundReason]
    refunded_by: ObjectIdStr


class PassGrantedV1(Event, type="pass.granted.v1", topic="shop", key="user_id", subject="user_id"):
    """A pass lies in the user's backpack; it has no time before it is activated, so `nbf` and `exp` are null."""

    user_id: ObjectIdStr
    pass_kind: PassKind
    streamer_id: ObjectIdStr | None = None
    nbf: Instant | None
    exp: Instant | None


class PassActivatedV1(Event, type="pass.activated.v1", topic="shop", key="user_id", subject="user_id"):
    """The user may watch from `nbf` to `exp`: every streamer, or the one named. The last one told counts."""

    user_id: ObjectIdStr
    pass_kind: PassKind
    streamer_id: ObjectIdStr | None = None
    nbf: Instant
    exp: Instant


class _GiftEvent(SessionEvent):
    """A gift to a streamer. `goal_id` is the goal it was given for, `funding_goal_id` that of a ticket.

    With `exclusive_to` the session was its sender's alone when it was asked for: it is those two people's business.
    """

    gift_id: ObjectIdStr
    sender_id: ObjectIdStr
    product_id: ProductId
    categories: Annotated[tuple[ProductId, ...], Field(max_length=10)]
    count: Count
    amount_diamonds: Diamonds
    goal_id: ObjectIdStr | None = None
    funding_goal_id: ObjectIdStr | None = None
    duration: Seconds | None = None
    exclusive_to: ObjectIdStr | None = None


class GiftRequestedV1(_GiftEvent, type="gift.requested.v1", topic="shop", key="session_id", subject="gift_id"):
    """A viewer wants to give something: the money is still the viewer's, also if this is read after `exp`."""

    exp: Instant | None = None


class GiftSentV1(_GiftEvent, type="gift.sent.v1", topic="shop", key="session_id", subject="gift_id"):
    """A gift was paid and counts: by the earning that is held for it, or by the payment."""

    earning_id: ObjectIdStr | None = None
    payment_id: ObjectIdStr | None = None


class GiftFailedV1(_GiftEvent, type="gift.failed.v1", topic="shop", key="session_id", subject="gift_id"):
    """A gift came to nothing, and its sender keeps the money, or has it back."""

    earning_id: ObjectIdStr | None = None
    payment_id: ObjectIdStr | None = None
    reason: Open[GiftFailure] | None = None
