"""What a push shows of an event: a list of named fields, never the event as it is (SPEC §2).

Names are dotted, `[]` stands for each of a list: `context.duration`, `levels[].target`. What nobody named is not shown,
a field that is added to the event tomorrow included.
"""

from functools import cache
from typing import Any

from contracts import Event


def shown(event: Event, names: tuple[str, ...]) -> dict[str, Any]:
    """These fields of `event`, as far as it has them."""
    return event.model_dump(include=_including(names), exclude_defaults=True)


def of(part: str, *names: str) -> tuple[str, ...]:
    """These fields of a part of the event."""
    return tuple(f"{part}.{name}" for name in names)


@cache
def _including(names: tuple[str, ...]) -> dict[str, Any]:
    """The same as pydantic takes it."""
    tree: dict[str, Any] = {}
    for name in names:
        *path, leaf = name.replace("[]", ".__all__").split(".")
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node[leaf] = True
    return tree


SESSION = ("session_id", "streamer_id")
GOAL = (*SESSION, "goal_id", "kind")

# -- a goal, to everybody; and what an invitation or a 1-on-1 shows to its two people alone ----------------------------

_PROMISE = (
    "conditions.session_id",
    *of("context", "type", "session_id"),
    *of("context", "perform_duration", "hesitation_countdown", "show_goal_id", "funding_goal_id"),
    *of("context", "ticket_product_id", "ticket_product_type", "discount_percentage"),
    *of("context", "gift_id", "sender_id", "product_id"),
    *of("levels[]", "title", "target"),
)
_END = ("active", "exp", "ended_at", "outcome", "metadata.user_id")
_BARE = ("conditions.session_id", *of("context", "type", "session_id"))
_BETWEEN_TWO = (
    "conditions.exclusive_to",
    *of("context", "exclusive_to", "duration", "exclusive_goal_id", "trigger_exclusive_goal_id"),
)

ADDED = (*GOAL, *_PROMISE, "nbf", "exp")
ADDED_TO_OTHERS = (*GOAL, *_BARE, "exp")
ADDED_TO_THE_TWO = (*ADDED, *_BETWEEN_TWO)

ENDED = (*GOAL, *_PROMISE, *_END, "progress")
ENDED_TO_OTHERS = (*GOAL, *_BARE, *_END)
ENDED_TO_THE_TWO = (*ENDED, *_BETWEEN_TWO, *of("metadata", "prepaid_duration", "agreed"))

EXTENDED = (*SESSION, "goal_id", "exp")
EXTENDED_TO_THE_STREAMER = (*EXTENDED, "nbf", "duration")
EXTENDED_TO_ITS_VIEWER = (*EXTENDED_TO_THE_STREAMER, "payment_id")

PROGRESS = (*GOAL, "user_id", "count", "progress", "target", "reached")
REJECTED = (*GOAL, "user_id", "reason")

# -- a session, and what a viewer may watch of it ----------------------------------------------------------------------

SESSION_STATE = (*SESSION, "active", "preset", *of("prices", "sd", "exclusive"))

_CAUSE = ("goal_id", "exclusive_goal_id", "payment_id", "gift_id")
PERMISSION = (*SESSION, "preset", "nbf", "duration", "exp", "reason", *_CAUSE)
REVOCATION = (*SESSION, "reason", *of("remaining", "nbf", "exp", "ticket", "private"), *_CAUSE)

# -- money, to whom it concerns ----------------------------------------------------------------------------------------

PAYMENT = (
    *(*SESSION, "payment_id", "purpose", "payer_id", "amount_diamonds"),
    *("duration", "preset", "exclusive_goal_id", "gift_id", "reason"),
)
EARNING = (*SESSION, "goal_id", "buyer_id", "amount_diamonds", "reason", "gift_id")
GIFT = (
    *(*SESSION, "gift_id", "sender_id", "product_id", "categories", "count", "amount_diamonds"),
    *("goal_id", "funding_goal_id", "duration"),
)
ORDER = (
    *("order_id", "user_id", "amount", "currency", "gateway"),
    *of("items[]", "item_id", "product_id", "subtype", "quantity", "diamonds", "pass_kind"),
)
REFUND = (*ORDER, *of("items[]", "activated"), "payment", "reason")
PASS = ("user_id", "pass_kind", "streamer_id", "nbf", "exp")
