"""Logs: one JSON object a line on stdout, libraries included, from what is asked for on."""

import json
import subprocess
import sys

PROGRAM = """
import logging, structlog
from chassis.runtime import logs
logs.setup("goals", "api", "INFO")
log = structlog.get_logger("test")
log.debug("not this")
log.info("event handled", id="e1")
logging.getLogger("aiokafka").warning("from %s", "a library")
logging.getLogger("aiokafka").info("not this either")
try:
    raise ValueError("why")
except ValueError:
    log.exception("crashed")
"""


def test_each_line_is_a_json_object_that_says_who_and_when() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)

    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["event handled", "from a library", "crashed"]
    assert {(line["service"], line["role"]) for line in lines} == {("goals", "api")}
    assert lines[0]["id"] == "e1"
    assert all("timestamp" in line and "level" in line for line in lines)
    assert "ValueError: why" in lines[2]["exception"]


STEPS = """
from chassis.runtime import logs
logs.setup("goals", "worker", "INFO")
steps = logs.Steps("event")
steps.add(id="e0", outcome="handled")
steps.drop()
steps.add(id="e1", correlation_id="r1", outcome="handled")
steps.add(id="e2", correlation_id=None, outcome="parked")
steps.write()
steps.write()
"""


def test_steps_are_written_together_in_the_form_of_all_lines() -> None:
    said = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, timeout=60)

    first, second = [json.loads(line) for line in said.stdout.splitlines()]
    assert (first["id"], first["correlation_id"], second["id"]) == ("e1", "r1", "e2")
    assert (first["event"], first["level"], first["service"], first["role"]) == ("event", "info", "goals", "worker")
    assert first["timestamp"] == second["timestamp"]
    assert first["timestamp"].endswith("Z")
