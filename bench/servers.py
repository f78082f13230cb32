"""The servers of a benchmark: those of MONGO_URL and KAFKA_BOOTSTRAP, else a stack of its own."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from devstack.stack import Stack


@dataclass(frozen=True)
class Servers:
    """Where they are."""

    mongo_url: str
    kafka_bootstrap: str


@contextmanager
def bench_servers() -> Iterator[Servers]:
    """MongoDB as a replica set and Kafka; log lines below WARNING are left out."""
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # a new topic's first moments
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("WARNING"))
    if os.environ.get("MONGO_URL"):
        yield Servers(os.environ["MONGO_URL"], os.environ["KAFKA_BOOTSTRAP"])
        return
    with tempfile.TemporaryDirectory(prefix="footlights-bench-") as data:
        stack = Stack(data=Path(data), only=("mongod", "kafka"))
        stack.start(attached=True)
        try:
            yield Servers(stack.mongo_url, stack.kafka_bootstrap)
        finally:
            stack.stop()
