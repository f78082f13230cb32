"""Who has been given time in a session, from which moment on, and how it is paid back when nobody can watch."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from chassis.storage.tx import Tx
from sessions.domain import minutes
from sessions.domain.exclusive import Invitation
from sessions.domain.grants import Grant, Holder, refolded
from sessions.domain.minutes import MinutesLeft
from sessions.domain.session import Session
from sessions.domain.viewer import Permission, Viewer, holder_id
from sessions.store import GRANTS, PAYMENTS, VIEWERS, save

GRANTS_PAGE = 50
LOOKS_MAX = 4  # for one grant more of many viewers at once; who has more that are not over is read page by page


async def viewer(tx: Tx, session_id: str, viewer_id: str) -> Viewer:
    """What a viewer has in a session, so far perhaps nothing."""
    id_ = holder_id(session_id, viewer_id)
    return await tx.get(VIEWERS, id_) or Viewer(id_, session_id, viewer_id)


async def holder(tx: Tx, session_id: str, viewer_id: str, cause_id: str, nbf: datetime) -> Holder:
    """A viewer with the grant of a cause, if it gave one, and those from its nbf on; of a new one, from `nbf` on.

    Whoever changes a grant saves the viewer, so two never pass unseen. Nearly always nothing is later.
    """
    known = await tx.get(GRANTS, cause_id)
    return await _holder(tx, await placed_viewer(tx, session_id, viewer_id), known.nbf if known else nbf, known)


async def holder_of(tx: Tx, invitation: Invitation) -> tuple[Holder, list[Grant]]:
    """The viewer of an invitation, and what stands of the grants that go with its money, with all that are later."""
    given = await tx.find(GRANTS, {"trigger_exclusive_goal_id": invitation.id, "stands": True})
    viewer = await placed_viewer(tx, invitation.session_id, invitation.viewer_id)
    if not given:
        return Holder(viewer), []
    return await _holder(tx, viewer, min(grant.nbf for grant in given), None), given


async def _holder(tx: Tx, viewer: Viewer, nbf: datetime, known: Grant | None) -> Holder:
    if viewer.latest is None or nbf > viewer.latest[0]:
        return Holder(viewer, (), known)
    later = await tx.find(GRANTS, _standing(viewer) | {"nbf": {"$gte": nbf}}, sort={"nbf": 1, "_id": 1})
    return Holder(viewer, tuple(later), known)


async def placed_viewer(tx: Tx, session_id: str, viewer_id: str) -> Viewer:
    """A viewer whose grants keep their places; one from before they did is folded anew, once."""
    known = await viewer(tx, session_id, viewer_id)
    if known.nbf is None or known.latest is not None:
        return known
    grants = await tx.find(GRANTS, _standing(known), sort={"nbf": 1, "_id": 1})
    placed, following = refolded(known, Permission(), grants)
    for grant in following:
        tx.put(GRANTS, grant)
    tx.put(VIEWERS, placed)
    return placed


async def pay_back(tx: Tx, session: Session, left: MinutesLeft, viewers: Iterable[Viewer], step_seconds: int) -> None:
    """Pay these viewers back what they paid for and cannot watch."""
    concerned = [viewer for viewer in viewers if viewer.viewer_id != left.exclusive_to]
    placed = [await placed_viewer(tx, viewer.session_id, viewer.viewer_id) for viewer in concerned]
    holders = await _given_to(tx, left, placed)
    plans = [minutes.to_pay_back(left, holder.later, step_seconds) for holder in holders]
    payments = await tx.get_many(PAYMENTS, (payment_id for plan in plans for payment_id in plan))
    for holder, plan in zip(holders, plans, strict=True):
        save(tx, minutes.pay_back(session, left, holder, plan, [payments[payment_id] for payment_id in plan]))


async def _given_to(tx: Tx, left: MinutesLeft, viewers: Sequence[Viewer]) -> list[Holder]:
    """Viewers with the latest of the grants that stand, in order: as many as minutes can have to be taken back of.

    Each viewer names its latest grant, and each grant the one before it. So one look reads one of every viewer, and
    nearly always that is all.
    """
    found: dict[str, list[Grant]] = {viewer.id: [] for viewer in viewers}
    wanted = {viewer.id: viewer.latest[1] for viewer in viewers if viewer.latest is not None}
    for _ in range(LOOKS_MAX):
        grants = await tx.get_many(GRANTS, wanted.values()) if wanted else {}
        for id_, grant_id in wanted.items():
            found[id_].insert(0, grants[grant_id])
        wanted = {id_: before for id_ in wanted if (before := _to_look_at(left, found[id_]))}
    for viewer in viewers:
        await _page_by_page(tx, left, viewer, found[viewer.id])
    return [Holder(viewer, tuple(found[viewer.id])) for viewer in viewers]


def _to_look_at(left: MinutesLeft, latest: Sequence[Grant]) -> str | None:
    """The grant before these, unless its time was over by then."""
    before = latest[0].before
    return None if minutes.suffices(left, latest) or before is None or before.latest is None else before.latest[1]


async def _page_by_page(tx: Tx, left: MinutesLeft, viewer: Viewer, found: list[Grant]) -> None:
    """Read on, of a viewer who has more than that."""
    while found and not minutes.suffices(left, found):
        nbf, id_ = found[0].place
        earlier = {"$or": [{"nbf": {"$lt": nbf}}, {"nbf": nbf, "_id": {"$lt": id_}}]}
        page = await tx.find(GRANTS, _standing(viewer) | earlier, sort={"nbf": -1, "_id": -1}, limit=GRANTS_PAGE)
        found[:0] = reversed(page)
        if len(page) < GRANTS_PAGE:
            return


def _standing(viewer: Viewer) -> dict[str, Any]:
    return {"session_id": viewer.session_id, "viewer_id": viewer.viewer_id, "stands": True}


async def has_minutes_left(tx: Tx, session_id: str, until: datetime, exclusive_to: str | None = None) -> bool:
    """Whether a viewer other than `exclusive_to` has time until then or longer."""
    some = await tx.find(VIEWERS, {"session_id": session_id, "exp": {"$gte": until}}, limit=2)
    return any(one.viewer_id != exclusive_to for one in some)


async def viewers_with_minutes(tx: Tx, left: MinutesLeft, step_seconds: int) -> list[Viewer]:
    """The next slice of viewers with a step or more that has not begun."""
    until = left.at + timedelta(seconds=step_seconds)
    where = {"session_id": left.session_id, "_id": {"$gt": left.after}, "exp": {"$gte": until}}
    return await tx.find(VIEWERS, where, sort={"_id": 1}, limit=minutes.SLICE_MAX)
