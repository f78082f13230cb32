"""`python -m goals api|worker|all|migrate`."""

from chassis.life import run
from goals.service import SERVICE

run(SERVICE)
