"""A viewer of a session: what a viewer has there, in one document (SPEC §4)."""

from dataclasses import dataclass
from datetime import datetime

from chassis.decision import derived_id
from contracts import Remaining
from sessions.domain.session import Session

Place = tuple[datetime, str]
"""Where a grant stands among a viewer's grants: its nbf, then its id."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Paid time, as the grants up to some place add it up; `latest` is the place of the last of them."""

    nbf: datetime | None = None
    duration: int = 0
    exp: datetime | None = None
    latest: Place | None = None


@dataclass(frozen=True, slots=True)
class Viewer:
    """Paid time, tickets of the latest show, and rights by private goals. What they come from are other documents."""

    id: str
    session_id: str
    viewer_id: str
    nbf: datetime | None = None
    duration: int = 0
    exp: datetime | None = None
    latest: Place | None = None
    """The place of the last grant that stands; None beside an `nbf` if grants were folded before this was kept."""
    ticket_goal: str | None = None
    """The funding goal that `tickets` are for: the latest one that a ticket was bought for."""
    tickets: int = 0
    """How many purchases of tickets stand."""
    private: int = 0
    """How many completed private goals with a contribution that stands."""

    @property
    def permission(self) -> Permission:
        """The paid time by all grants that stand."""
        return Permission(self.nbf, self.duration, self.exp, self.latest)

    def remaining(self, session: Session) -> Remaining:
        """All that is left when something was taken back."""
        ticket = self.tickets > 0 and session.admits(self.ticket_goal)
        return Remaining(nbf=self.nbf, exp=self.exp, ticket=ticket, private=self.private > 0)


def holder_id(session_id: str, viewer_id: str) -> str:
    """The id of a viewer of a session."""
    return derived_id("viewer", session_id, viewer_id)
