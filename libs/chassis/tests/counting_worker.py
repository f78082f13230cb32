"""A worker in a process of its own: counts who was blocked, in order.

Handling the viewer `DEADLY` kills it; `REFUSED` is refused as long as there is a file `REFUSED_WHILE`.
"""

import asyncio
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from fastapi import APIRouter

from chassis import logs
from chassis.clock import SystemClock
from chassis.collection import Collection
from chassis.consumer import Consumer
from chassis.errors import Conflict
from chassis.faults import plan_faults
from chassis.mongo import Mongo
from chassis.runtime import Outside, Runtime
from chassis.service import Service, on
from chassis.settings import ChassisSettings, load
from chassis.tx import Tx
from contracts import ViewerBlockedV1


@dataclass(frozen=True, slots=True)
class Tally:
    """What was heard of one streamer, in order."""

    id: str
    heard: tuple[str, ...] = ()


TALLIES = Collection("tallies", Tally)


class Refused(Conflict, slug="refused"):
    """Not this viewer, not now."""


def is_refusing() -> bool:
    return Path(os.environ["REFUSED_WHILE"]).exists()


async def count(event: ViewerBlockedV1, tx: Tx) -> None:
    if event.viewer_id == os.environ.get("DEADLY"):
        os.kill(os.getpid(), signal.SIGKILL)
    if event.viewer_id == os.environ.get("REFUSED") and is_refusing():
        raise Refused
    tally = await tx.get(TALLIES, event.streamer_id) or Tally(event.streamer_id)
    tx.put(TALLIES, replace(tally, heard=(*tally.heard, event.viewer_id)))


SERVICE = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, count),), collections=(TALLIES,))


async def main() -> None:
    settings = load(ChassisSettings)
    logs.setup("tests", "worker", settings.log_level)
    plan_faults(settings.fault_plan)
    mongo = Mongo(settings.mongo_url.get_secret_value(), settings.mongo_driver)
    async with httpx.AsyncClient() as http:
        clock = SystemClock()
        outside = Outside({ChassisSettings: settings}, http, clock)
        runtime = Runtime("tests", mongo, mongo.database(settings.scoped("tests")), clock, outside)
        consumer = Consumer(SERVICE, runtime, settings)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
        await consumer.run()


if __name__ == "__main__":
    asyncio.run(main())
