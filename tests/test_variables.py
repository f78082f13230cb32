"""Every variable that a service reads is told of, and no stack runs with another one than was asked for."""

import importlib
import re
from pathlib import Path

from pydantic_settings import BaseSettings

from chassis.service import Service
from chassis.settings import ChassisSettings
from devstack import services
from devstack.settings import SERVICE_VARIABLES, Settings, package

ROOT = Path(__file__).parents[1]
STACK = Settings(Path("/nowhere"), 20_000)


def read_by_services() -> set[str]:
    """The variables of the chassis, and those of every service of the checkout."""
    tables: list[Service] = [
        importlib.import_module(f"{package(name)}.service").SERVICE for name in services.chosen(STACK)
    ]
    settings: tuple[type[BaseSettings], ...] = (ChassisSettings, *(own for table in tables for own in table.settings))
    return {name.upper() for each in settings for name in each.model_fields}


def test_every_variable_is_in_the_example() -> None:
    told = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert read_by_services() <= told


def test_every_variable_is_set_by_the_stack_or_compared_by_a_second_up() -> None:
    assert read_by_services() <= {*services.environment(STACK), *SERVICE_VARIABLES, "HTTP_PORT"}
