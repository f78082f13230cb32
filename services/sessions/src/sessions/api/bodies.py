"""What a streamer or a viewer sends."""

from typing import Annotated, Literal

from pydantic import Field

from chassis.http import Body
from contracts import Preset
from contracts.values import STEPS_MAX, Diamonds, LegibleTitle, Price
from sessions.settings import SESSION_SECONDS_LIMIT


class PricesBody(Body):
    """Diamonds per step. A price that is null, or was never given, is not for sale."""

    sd: Price | None = None
    exclusive: Price | None = None


class StartSession(Body):
    """A broadcast begins. It ends by itself after `max_seconds`, or after as long as any may last, if not given."""

    prices: PricesBody
    preset: Preset = "preview"
    title: LegibleTitle | None = None
    max_seconds: Annotated[int, Field(ge=1, le=SESSION_SECONDS_LIMIT)] | None = None


class ChangeSession(Body):
    """What is given is set; of the prices, too, only those that are given."""

    prices: PricesBody = PricesBody()
    preset: Preset | None = None
    title: LegibleTitle | None = None


class PutSource(Body):
    """What is in a room: a phone, OBS, or something else, for those with free tokens or with paid ones.

    Without a `preset` it keeps that of the room, which at first is the session's, and stays when that changes.
    """

    kind: Literal["phone", "obs", "other"] = "other"
    preset: Preset | None = None


class Pay(Body):
    """Seconds to buy: whole steps, 1 to 60 of them; `max_amount_diamonds` is what they may cost, whatever the price."""

    duration: Annotated[int, Field(ge=1, le=STEPS_MAX * 3_600)]
    max_amount_diamonds: Diamonds | None = None
