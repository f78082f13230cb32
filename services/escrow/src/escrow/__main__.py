"""Run escrow."""

from chassis.runtime.cli import run
from escrow.service import SERVICE

run(SERVICE)
