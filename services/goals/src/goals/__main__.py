"""`python -m goals api|worker|all|migrate`."""

from chassis.runtime.cli import run
from goals.service import SERVICE

run(SERVICE)
