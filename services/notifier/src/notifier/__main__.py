"""Run the notifier."""

from chassis.life import run
from notifier.service import SERVICE

run(SERVICE)
