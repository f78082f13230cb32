"""Who is in the rooms, and who is put out."""

from chassis.storage.tx import Tx
from contracts import SessionViewerRevokedV1
from rtc_control import store
from rtc_control.domain import rooms
from rtc_control.domain.rooms import SLICE, CutDue


async def cut_off_revoked(event: SessionViewerRevokedV1, tx: Tx) -> None:
    """Who has nothing left leaves the paid rooms."""
    if known := await tx.get(store.BROADCASTS, event.session_id):
        for call in rooms.revoked(known, event, tx.cause.at):
            tx.schedule_effect(call)


async def cut_off_others(timer: CutDue, tx: Tx) -> None:
    """A session is over, or somebody's alone: the others are put out, slice by slice."""
    known = await tx.get(store.BROADCASTS, timer.session_id)
    if known is None:
        return
    found = await store.occupants(tx, known, timer.after)
    for call in rooms.put_out(known, found, tx.cause.at):
        tx.schedule_effect(call)
    if len(found) == SLICE:
        tx.set_timer(rooms.next_slice(timer, found[-1].id, tx.now))
    elif again := rooms.look_again(timer, known, tx.now):
        tx.set_timer(again)
