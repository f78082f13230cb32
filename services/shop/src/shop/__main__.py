"""Run shop."""

from chassis.runtime.cli import run
from shop.service import SERVICE

run(SERVICE)
