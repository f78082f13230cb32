"""What callers send. The query parameter `type` says which of them a POST has; the body may say it, too."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from chassis.http import Body, UnixTime
from contracts import TicketType
from contracts.products import TICKET_PRODUCT_IDS
from contracts.values import Count, Diamonds, LegibleTitle, ObjectIdStr, ProductId
from goals.domain.funding import HESITATION_SECONDS_MAX, PERFORM_SECONDS_MAX, TARGET_TICKETS_MAX

LEVELS_MAX = 10  # SPEC §3
DISCOUNT_PERCENTAGE_MAX = 99  # SPEC §3: nothing is for free

GoalTypeName = Literal["show-funding", "show", "trigger-exclusive", "exclusive", "trigger-private"]


class InvitationContext(Body):
    """Where, and for how many seconds."""

    session_id: ObjectIdStr
    duration: Annotated[int, Field(ge=1, le=10**6)] | None = None


class NewInvitation(Body):
    """`type=trigger-exclusive`: a viewer asks for a 1-on-1."""

    type: Literal["trigger-exclusive"] = "trigger-exclusive"
    context: InvitationContext
    max_amount_diamonds: Diamonds | None = None


class ExclusiveContext(Body):
    """Which agreed invitation it follows."""

    session_id: ObjectIdStr
    trigger_exclusive_goal_id: ObjectIdStr


class NewLevel(Body):
    """A mark on the way that viewers see."""

    title: LegibleTitle | None = None
    target: Count


class NewExclusive(Body):
    """`type=exclusive`: the streamer starts the 1-on-1."""

    type: Literal["exclusive"] = "exclusive"
    context: ExclusiveContext
    levels: Annotated[tuple[NewLevel, ...], Field(max_length=LEVELS_MAX)] = ()
    nbf: UnixTime | None = None


class TicketLevel(Body):
    """How many tickets make the show."""

    title: LegibleTitle
    target: Annotated[int, Field(ge=1, le=TARGET_TICKETS_MAX)]


class FundingContext(Body):
    """What the tickets are for, and which ones they are."""

    session_id: ObjectIdStr
    perform_duration: Annotated[int, Field(ge=1, le=PERFORM_SECONDS_MAX)]
    hesitation_countdown: Annotated[int, Field(ge=0, le=HESITATION_SECONDS_MAX)]
    ticket_product_id: ProductId
    ticket_product_type: TicketType
    discount_percentage: Annotated[int | None, Field(validate_default=True)] = None

    @field_validator("ticket_product_id")
    @classmethod
    def _sells_tickets(cls, product_id: str) -> str:
        if product_id not in TICKET_PRODUCT_IDS:
            raise ValueError(f"must be a ticket: {', '.join(sorted(TICKET_PRODUCT_IDS))}")
        return product_id

    @field_validator("discount_percentage")
    @classmethod
    def _discount_of_an_early_bird(cls, discount: int | None, info: ValidationInfo) -> int | None:
        fits = discount is not None and 0 <= discount <= DISCOUNT_PERCENTAGE_MAX
        if info.data.get("ticket_product_type") == "earlybird" and not fits:
            raise ValueError(f"must be 0 to {DISCOUNT_PERCENTAGE_MAX} for an early bird")
        return discount


class NewFunding(Body):
    """`type=show-funding`: the streamer sells tickets for a show."""

    type: Literal["show-funding"] = "show-funding"
    levels: tuple[TicketLevel]
    exp: UnixTime
    context: FundingContext


class ShowContext(Body):
    """Which funding it follows."""

    session_id: ObjectIdStr
    funding_goal_id: ObjectIdStr


class NewShow(Body):
    """`type=show`: the streamer starts the show."""

    type: Literal["show"] = "show"
    context: ShowContext
    nbf: UnixTime | None = None


class DiamondLevel(Body):
    """How many diamonds make the private performance."""

    title: LegibleTitle
    target: Annotated[Diamonds, Field(ge=1)]


class PrivateContext(Body):
    """Where."""

    session_id: ObjectIdStr


class NewPrivate(Body):
    """`type=trigger-private`: the streamer asks for gifts, for a performance to those who gave."""

    type: Literal["trigger-private"] = "trigger-private"
    levels: tuple[DiamondLevel]
    exp: UnixTime
    context: PrivateContext


NewGoal = NewInvitation | NewExclusive | NewFunding | NewShow | NewPrivate

BODIES: dict[str, type[Body]] = {
    "trigger-exclusive": NewInvitation,
    "exclusive": NewExclusive,
    "show-funding": NewFunding,
    "show": NewShow,
    "trigger-private": NewPrivate,
}


class Deletion(Body):
    """The streamer's answer to an invitation; ignored elsewhere."""

    agree: bool | None = None


NO_ANSWER = Deletion()
