"""Run escrow."""

from chassis.life import run
from escrow.service import SERVICE

run(SERVICE)
