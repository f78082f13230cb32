"""Passes, as the shop tells of them."""

from chassis.storage.tx import Tx
from contracts import PassActivatedV1
from sessions import store
from sessions.domain import passes as domain


async def follow_pass(event: PassActivatedV1, tx: Tx) -> None:
    """A pass was activated, or goes on for longer: it opens the sessions of every streamer, or of one."""
    known = await tx.get(store.PASSES, domain.pass_id(event.user_id, event.pass_kind))
    store.save(tx, domain.activate_pass(known, event, tx.cause.at))
