"""The backpack: what a user has bought and not used up. A pass has no time before it is activated (SPEC §8)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chassis.decision import derived_id
from chassis.errors import Conflict, NotFound
from contracts import PassActivatedV1
from contracts.shop import Subtype


class BackpackItemNotFound(NotFound, slug="backpack-item-not-found"):
    """There is nothing like that in your backpack."""


class AlreadyActivated(Conflict, slug="already-activated"):
    """This pass has been activated."""


class NotAPass(Conflict, slug="not-a-pass"):
    """Only a pass is activated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackpackItem:
    """One piece. `nbf` and `exp` are the pass's time as this activation left it; null before."""

    id: str
    user_id: str
    order_id: str
    product_id: str
    subtype: Subtype | None
    granted: datetime
    pass_kind: str | None = None
    pass_seconds: int | None = None
    streamer_id: str | None = None
    activated: datetime | None = None
    nbf: datetime | None = None
    exp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """A user's time with passes of one kind, from the first activation of those that followed each other."""

    id: str
    nbf: datetime
    exp: datetime


def pass_id(user_id: str, pass_kind: str) -> str:
    """The id of a user's time with this kind of pass, whether there is one or not."""
    return derived_id("pass", user_id, pass_kind)


def activate(item: BackpackItem, old: Pass | None, now: datetime) -> tuple[BackpackItem, Pass, PassActivatedV1]:
    """Give a pass its time: what is left of its kind, and then its own.

    Raises:
        NotAPass, AlreadyActivated: as they say.
    """
    if item.pass_kind is None or item.pass_seconds is None:
        raise NotAPass
    if item.activated is not None:
        raise AlreadyActivated
    nbf = old.nbf if old is not None and old.exp > now else now
    exp = max(now, old.exp if old is not None else now) + timedelta(seconds=item.pass_seconds)
    told = PassActivatedV1(
        user_id=item.user_id, pass_kind=item.pass_kind, streamer_id=item.streamer_id, nbf=nbf, exp=exp
    )
    return (
        replace(item, activated=now, nbf=nbf, exp=exp),
        Pass(pass_id(item.user_id, item.pass_kind), nbf, exp),
        told,
    )
