"""Passes: paid streaming for a while, of every streamer or of one (SPEC §8). The shop sells them and says so."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chassis.decision import derived_id
from contracts import PassActivatedV1, PassKind
from sessions.domain.changes import NOTHING, Changes, changed

EVERYWHERE: Final = "livestream_pass"


@dataclass(frozen=True, slots=True)
class Pass:
    """A user's activated pass of one kind. `id` names both; `told` is when the shop said so."""

    id: str
    user_id: str
    pass_kind: str
    nbf: datetime
    exp: datetime
    told: datetime


def pass_id(user_id: str, pass_kind: PassKind) -> str:
    """The id of a user's pass of this kind, whether there is one or not."""
    return derived_id("pass", user_id, pass_kind)


def pass_ids(user_id: str, streamer_id: str) -> tuple[str, str]:
    """The ids of the passes by which a user may watch this streamer."""
    return pass_id(user_id, EVERYWHERE), pass_id(user_id, f"{EVERYWHERE}_{streamer_id}")


def activate_pass(known: Pass | None, event: PassActivatedV1, told: datetime) -> Changes:
    """The pass has this time now. What was told before the last word changes nothing."""
    if known is not None and known.told > told:
        return NOTHING
    id_ = pass_id(event.user_id, event.pass_kind)
    return changed(Pass(id_, event.user_id, event.pass_kind, event.nbf, event.exp, told))
