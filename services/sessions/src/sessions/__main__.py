"""`python -m sessions api|worker|all|migrate`."""

from chassis.life import run
from sessions.service import SERVICE

run(SERVICE)
