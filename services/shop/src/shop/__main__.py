"""Run shop."""

from chassis.life import run
from shop.service import SERVICE

run(SERVICE)
