"""What a goal is about, as it is shown: which fields there are depends on its `type` (SPEC §3)."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic takes that of `typing` from Python 3.12 on only

from contracts import GoalKind, TicketType


class _Performance(TypedDict):
    session_id: str
    perform_duration: int
    ticket_product_id: str
    ticket_product_type: TicketType
    discount_percentage: NotRequired[int]


class FundingContextView(_Performance):
    """A funding: the show that its tickets are for, and which ones they are."""

    type: Literal["show-funding"]
    hesitation_countdown: int
    show_goal_id: NotRequired[str]


class ShowContextView(_Performance):
    """A show: what was promised, and by which funding."""

    type: Literal["show"]
    funding_goal_id: str


class InvitationContextView(TypedDict):
    """An invitation; whom it is from, for how long, and what followed is seen by its two people alone."""

    type: Literal["trigger-exclusive"]
    session_id: str
    exclusive_to: NotRequired[str]
    duration: NotRequired[int]
    exclusive_goal_id: NotRequired[str]


class ExclusiveContextView(TypedDict):
    """A 1-on-1; whose it is, and by which invitation, is seen by its two people alone."""

    type: Literal["exclusive"]
    session_id: str
    exclusive_to: NotRequired[str]
    trigger_exclusive_goal_id: NotRequired[str]


class PrivateContextView(TypedDict):
    """A performance for those who gave."""

    type: Literal["trigger-private"]
    session_id: str


class KaraokeContextView(TypedDict):
    """A song, and the gift that asked for it; of one in a 1-on-1 its two people alone see the gift."""

    type: Literal["karaoke"]
    gift_id: NotRequired[str]
    sender_id: NotRequired[str]
    product_id: NotRequired[str]


ContextView = Annotated[
    FundingContextView
    | ShowContextView
    | InvitationContextView
    | ExclusiveContextView
    | PrivateContextView
    | KaraokeContextView,
    Field(discriminator="type"),
]

BARE: Final = ("type", "session_id")
"""What everybody sees of the context of a goal that is two people's."""

CONTEXT: Final[Mapping[GoalKind, tuple[str, ...]]] = {
    "ShowFundingGoal": tuple(FundingContextView.__annotations__),
    "ShowGoal": tuple(ShowContextView.__annotations__),
    "TriggerExclusiveGoal": tuple(InvitationContextView.__annotations__),
    "ExclusiveGoal": tuple(ExclusiveContextView.__annotations__),
    "TriggerPrivateGoal": tuple(PrivateContextView.__annotations__),
    "KaraokeGoal": tuple(KaraokeContextView.__annotations__),
}
"""What is seen of a goal's context by whom it concerns: by everybody, if it is not two people's."""
