"""Paid minutes that have not begun when they can be watched no more are paid back (SPEC §4).

At a moment `at`: the end of the session, another viewer's agreement, or a block of the viewer. It is done viewer by
viewer in slices, in transactions of their own: 100 000 viewers are no special case.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from chassis.decision import At, Timer, derived_id
from contracts import Remaining, ReversalReason, SessionViewerRevokedV1
from sessions.domain.changes import NOTHING, Changes, changed, joined
from sessions.domain.grants import Grant, Holder, take_back, update_session_viewer_permissions
from sessions.domain.payments import Payment, reverse
from sessions.domain.session import Session
from sessions.domain.viewer import Permission, Viewer

SLICE_MAX = 200  # viewers in one transaction: well below a second of work


class MinutesLeft(Timer, name="minutes-left"):
    """The viewers of a session after `after` may hold minutes that they cannot watch any more from `at` on."""

    session_id: str
    reason: ReversalReason
    at: datetime
    given_until: datetime | None = None
    """Of an agreement: what was given later is not meant, for then the session was everyone's again."""
    exclusive_to: str | None = None
    """Of an agreement: the one viewer who watches on."""
    after: str = ""

    @property
    def id(self) -> str:
        """One run for each thing that happened."""
        return derived_id(self.NAME, self.session_id, self.reason, self.at.isoformat())


def look_for(left: MinutesLeft, now: datetime) -> At:
    """Look through the next slice of viewers at once."""
    return At(left, left.id, now, key=left.session_id)


def go_on(left: MinutesLeft, slice_: Sequence[Viewer], now: datetime) -> Changes:
    """A slice that is not full was the last."""
    if len(slice_) < SLICE_MAX:
        return NOTHING
    return changed(timers=[look_for(left.model_copy(update={"after": slice_[-1].id}), now)])


def suffices(left: MinutesLeft, latest: Sequence[Grant]) -> bool:
    """Whether the time of all grants before these `latest` ones was over by then."""
    before = latest[0].before if latest else None
    return before is None or before.exp is None or before.exp <= left.at


def to_pay_back(left: MinutesLeft, latest: Sequence[Grant], step_seconds: int) -> Mapping[str, int]:
    """How many seconds of which payments go back, of a viewer with these `latest` grants.

    The time of each begins where that of the grant before it ends. Its steps that have not begun go back, if it was
    paid for; what another viewer's agreement overtook goes back whole, as if it had never been given.
    """
    given = [grant for grant in latest if left.given_until is None or grant.nbf <= left.given_until]
    overtaken = {grant.id: grant.duration for grant in given if _is_overtaken(grant, left)}
    permission = latest[0].before or Permission() if latest else Permission()
    unwatched = {}
    for grant in given:
        if grant.id in overtaken:
            continue
        begin = max(grant.nbf, permission.exp or grant.nbf, left.at)
        permission = update_session_viewer_permissions(permission, grant)
        seconds = _whole_steps(begin, permission.exp, step_seconds)
        if grant.reason == "paid" and seconds:
            unwatched[grant.id] = seconds
    return overtaken | unwatched


def pay_back(
    session: Session,
    left: MinutesLeft,
    holder: Holder,
    seconds_of: Mapping[str, int],
    payments: Iterable[Payment],
) -> Changes:
    """Take so many seconds of these payments of one viewer back, and have escrow pay them back."""

    def revoked(remaining: Remaining) -> SessionViewerRevokedV1:
        return SessionViewerRevokedV1(
            session_id=session.id,
            streamer_id=session.streamer_id,
            viewer_id=holder.viewer.viewer_id,
            payment_id=next(iter(seconds_of)) if len(seconds_of) == 1 else None,
            reason="reversed",
            remaining=remaining,
        )

    return joined(
        take_back(session, holder, seconds_of, revoked),
        *(reverse(payment, left.reason, payment.gone_duration + seconds_of[payment.id]) for payment in payments),
    )


def _is_overtaken(grant: Grant, left: MinutesLeft) -> bool:
    return left.exclusive_to is not None and grant.reason == "paid" and grant.nbf >= left.at


def _whole_steps(begin: datetime, end: datetime | None, step_seconds: int) -> int:
    """The seconds of the whole steps between, counted from the end."""
    if end is None or end <= begin:
        return 0
    return int((end - begin).total_seconds() // step_seconds) * step_seconds
