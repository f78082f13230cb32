"""Run rtc-control."""

from chassis.runtime.cli import run
from rtc_control.service import SERVICE

run(SERVICE)
