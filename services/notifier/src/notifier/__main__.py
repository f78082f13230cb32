"""Run the notifier."""

from chassis.runtime.cli import run
from notifier.service import SERVICE

run(SERVICE)
