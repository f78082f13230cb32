"""`migrate` is done by one process at a time: a lease in MongoDB, kept for as long as it works."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from chassis.context import Runtime
from chassis.runtime.leader_election import LEASES, Lease
from chassis.runtime.logs import reason
from chassis.runtime.migrate import NotMigrated
from chassis.storage.mongo import PyMongoError

LEASE_SECONDS = 10.0  # after a death in the middle, before another one begins
WAIT_SECONDS = 300.0  # for another one that migrates; an orchestrator gives up on a start after some minutes
TRY_AGAIN_SECONDS = 0.5

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def only_one(
    runtime: Runtime, *, wait_seconds: float = WAIT_SECONDS, lease_seconds: float = LEASE_SECONDS
) -> AsyncIterator[None]:
    """Whoever starts `migrate` at the same time waits here, and then finds nothing left to do.

    Raises:
        NotMigrated: another one was at work all the time.
        TimeoutError: the database did not answer for as long as the lease lasts, so that another may begin. What is
            being done is broken off.
    """
    lease = Lease(runtime, lease_seconds, name="migrate")
    until = runtime.clock.monotonic() + wait_seconds
    logged = False
    while not await lease.take():
        if runtime.clock.monotonic() > until:
            raise NotMigrated([f"{await _holder(runtime)} migrates, for more than {wait_seconds:.0f} s: wait for it"])
        if not logged:
            _log.info("another one migrates, waiting", owner=await _holder(runtime), seconds_max=wait_seconds)
            logged = True
        await asyncio.sleep(TRY_AGAIN_SECONDS)
    async with asyncio.timeout(lease.seconds) as deadline:
        keeping = asyncio.create_task(_keep(lease, deadline))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await lease.release()


async def _keep(lease: Lease, deadline: asyncio.Timeout) -> None:
    """Renew the lease; while that fails, the deadline comes nearer."""
    now = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(lease.seconds / 3)
        asked_at = now()
        try:
            if await lease.take() and not deadline.expired():
                deadline.reschedule(asked_at + lease.seconds)
        except PyMongoError as error:
            _log.warning("lease of the migration not renewed", error=reason(error))


async def _holder(runtime: Runtime) -> str:
    lease = await runtime.database[LEASES.name].find_one({"_id": "migrate"}) or {}
    return str(lease.get("owner", "nobody"))
