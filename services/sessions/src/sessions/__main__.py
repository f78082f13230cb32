"""`python -m sessions api|worker|all|migrate`."""

from chassis.runtime.cli import run
from sessions.service import SERVICE

run(SERVICE)
