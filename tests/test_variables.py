"""Every variable is told of, and reaches who reads it and nobody else; a stack never runs with another than asked."""

import importlib
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from chassis.runtime.settings import ApiSettings, ChassisSettings
from chassis.service import Service
from devstack import services
from devstack.parts import LOCAL_GATEWAY
from devstack.settings import EVERY_API, OWN_VARIABLES, VARIABLES, Settings, package

ROOT = Path(__file__).parents[1]
STACK = Settings(Path("/nowhere"), 20_000)
GIVEN = Settings(Path("/nowhere"), 20_000, variables=dict.fromkeys(VARIABLES, "given"))


def read_by_services() -> set[str]:
    """What the services of the checkout read."""
    return set().union(*map(read_by, services.chosen(STACK)))


def read_by(service: str, role: str = "api") -> set[str]:
    """The variables of the chassis, and its own."""
    table: Service = importlib.import_module(f"{package(service)}.service").SERVICE
    settings: tuple[type[BaseSettings], ...] = (ApiSettings if role == "api" else ChassisSettings, *table.settings)
    return {name.upper() for each in settings for name in each.model_fields}


def filled_in_at_the_gateway() -> set[str]:
    """The variables of its template, but for where it listens, and where services and files are."""
    template = (ROOT / "deploy" / "gateway" / "routes.conf.template").read_text()
    return {
        name
        for name in re.findall(r"\$\{([A-Z_]+)\}", template)
        if not re.search("_(API|DOCUMENT|LISTEN|PAGES)$", name)
    }


def test_every_variable_is_in_the_example() -> None:
    told = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert read_by_services() | filled_in_at_the_gateway() <= told


PROCESSES = {part.name: part for part in services.services(GIVEN)}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_is_told_what_it_reads_and_nothing_else(name: str) -> None:
    """So a second `up` compares all of it, and no secret goes to who does not use it."""
    service, _, role = name.rpartition("-")

    told = PROCESSES[name].env.keys() - {"PYTHONUNBUFFERED"}

    assert told == read_by(service, role)
    assert ("JWT_KEYS" in told) == (role == "api")
    assert ("PUSHER_KEYS" in told) == (service == "notifier")


def test_nothing_that_is_deployed_names_a_clock_that_can_be_moved() -> None:
    """A service refuses one outside a local stack, besides; in containers `DEVSTACK` may be true."""
    files = [ROOT / "docker-compose.yml", *(file for file in (ROOT / "deploy").rglob("*") if file.is_file())]
    deployed = [file for file in files if "devstack" not in file.parts[len(ROOT.parts) :]]

    assert len(deployed) > 10
    assert [file for file in deployed if b"CLOCK_AHEAD" in file.read_bytes()] == []


def test_migrations_are_told_no_key_of_tokens() -> None:
    told = services.environment(GIVEN, *services.chosen(GIVEN), api=False)

    assert not told.keys() & set(EVERY_API)


def test_the_gateway_is_told_what_its_template_names() -> None:
    assert filled_in_at_the_gateway() == LOCAL_GATEWAY.keys() == set(OWN_VARIABLES["nginx"])
