"""A worker in a process of its own: counts who was blocked, in order.

Handling the viewer `DEADLY` kills it; `REFUSED` is refused as long as there is a file `REFUSED_WHILE`.
"""

import asyncio
import os
import signal
from pathlib import Path

from fastapi import APIRouter

from chassis.clock import SystemClock
from chassis.context import Outside, Runtime
from chassis.effects.vendor_client import VendorClient
from chassis.errors import Conflict
from chassis.kafka.consumer import Consumer
from chassis.runtime import logs
from chassis.runtime.faults import plan_faults
from chassis.runtime.settings import ChassisSettings, load
from chassis.service import Service, on
from chassis.storage.mongo import Mongo
from chassis.storage.tx import Tx
from chassis_testing import tallies
from contracts import ViewerBlockedV1


class Refused(Conflict, slug="refused"):
    """Not this viewer, not now."""


def is_refusing() -> bool:
    return Path(os.environ["REFUSED_WHILE"]).exists()


async def count(event: ViewerBlockedV1, tx: Tx) -> None:
    if event.viewer_id == os.environ.get("DEADLY"):
        os.kill(os.getpid(), signal.SIGKILL)
    if event.viewer_id == os.environ.get("REFUSED") and is_refusing():
        raise Refused
    await tallies.count(event, tx)


SERVICE = Service("tests", APIRouter(), handlers=(on(ViewerBlockedV1, count),), collections=(tallies.TALLIES,))


async def main() -> None:
    settings = load(ChassisSettings)
    logs.setup("tests", "worker", settings.log_level)
    plan_faults(settings.fault_plan)
    mongo = Mongo(settings.mongo_url.get_secret_value(), settings.mongo_driver)
    clock = SystemClock()
    outside = Outside({ChassisSettings: settings}, VendorClient(), clock)
    runtime = Runtime("tests", mongo, mongo.database(settings.scoped("tests")), clock, outside)
    consumer = Consumer(SERVICE, runtime, settings)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
    await consumer.run()


if __name__ == "__main__":
    asyncio.run(main())
