"""A guard counts only after it has been seen to fail: each is shown violations here, and must name every one.

Each tool runs once, over a copy of the sources in which all its violations are planted.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
MEMBERS = [
    file.parent.relative_to(ROOT)
    for kind in ("libs", "services")
    for file in sorted(ROOT.glob(f"{kind}/*/pyproject.toml"))
]
SERVICES = [member.name.replace("-", "_") for member in MEMBERS if member.parent.name == "services"]
FILES_OF_A_SERVICE = ("__main__", "service", "api", "handlers", "store", "gateway", "settings", "domain")


def complaints(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a tool of this venv says about planted violations; it must fail."""
    tool, *arguments = command
    done = subprocess.run(
        [Path(sys.executable).parent / tool, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, f"{tool} found nothing, or broke:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_of_the_sources(tree: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tree)
    for member in MEMBERS:
        shutil.copytree(ROOT / member / "src", tree / member / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def plant(tree: Path, module: str, line: str) -> None:
    """Append a line to a module of the copy, or make the module."""
    package, *names = module.split(".")
    source = next(tree / member / "src" / package for member in MEMBERS if (tree / member / "src" / package).is_dir())
    place = source.joinpath(*names)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    with file.open("a", encoding="utf-8") as out:
        out.write(f"\n{line}\n")


# Architecture: import-linter

CONTRACTS = {contract["id"]: contract["name"] for contract in SETTINGS["tool"]["importlinter"]["contracts"]}
CHASSIS_FLOORS = [
    layer.partition(" | ")[0]
    for contract in SETTINGS["tool"]["importlinter"]["contracts"]
    if contract["id"] == "chassis-layers"
    for layer in contract["layers"]
]


def forbidden_imports() -> Iterator[tuple[str, str, str]]:
    """For each rule, in each service: the contract's id, a module that breaks it, and what that module imports."""
    yield "contracts-alone", "contracts.values", "chassis"
    yield "byteplus-alone", "byteplus.signing", "chassis"
    yield "one-driver-module", "chassis.errors", "pymongo"
    yield "stack-outside", "chassis.errors", "devstack"
    yield "tests-outside", "chassis.errors", "chassis_testing"
    for higher, lower in pairwise(CHASSIS_FLOORS):
        yield "chassis-layers", f"chassis.{lower}", f"chassis.{higher}"
    for service, neighbour in zip(SERVICES, [*SERVICES[1:], SERVICES[0]], strict=True):
        yield "independence", f"{service}.gateway", neighbour
        yield "chassis-below", "chassis.errors", service
        yield "contracts-alone", "contracts.values", service
        yield "contracts-cli-outside", "contracts_cli.broker", service
        yield "byteplus-alone", "byteplus.signing", service
        yield "stream-tokens-below", "stream_tokens.minting", service
        yield "kafka-in-chassis", f"{service}.handlers", "aiokafka"
        yield "stack-outside", f"{service}.settings", "devstack"
        for importer, imported in (
            ("domain", "settings"),
            ("settings", "store"),
            ("store", "gateway"),
            ("gateway", "api"),
            ("api", "handlers"),
            ("handlers", "service"),
            ("service", "__main__"),
        ):
            yield "service-layers", f"{service}.{importer}", f"{service}.{imported}"
        for driver in ("bson", "motor", "pymongo"):
            yield "one-driver-module", f"{service}.store", driver
        for impure in (
            "aiohttp",
            "aiokafka",
            "asyncio",
            "bson",
            "chassis.storage.tx",
            "fastapi",
            "httpx",
            "logging",
            "motor",
            "os",
            "pymongo",
            "random",
            "time",
        ):
            yield "pure-domain", f"{service}.domain", impure


@pytest.fixture(scope="module")
def broken_contracts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What import-linter says about each contract, by the contract's name."""
    tree = copy_of_the_sources(tmp_path_factory.mktemp("architecture"))
    for service in SERVICES:
        for name in (*FILES_OF_A_SERVICE, "helpers"):
            plant(tree, f"{service}.{name}", "")
    for _, importer, imported in forbidden_imports():
        plant(tree, importer, f"import {imported}")
    sources = os.pathsep.join(str(tree / member / "src") for member in MEMBERS)

    said = complaints("lint-imports", "--no-cache", cwd=tree, PYTHONPATH=sources, COLUMNS="999", NO_COLOR="1")

    headed = re.split(r"\n(.+)\n-{5,}\n", said.partition("Broken contracts")[2])
    return dict(zip(headed[1::2], headed[2::2], strict=True))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_forbidden_import_is_named(contract: str, broken_contracts: dict[str, str]) -> None:
    planted = {f"{importer} -> {imported}" for id_, importer, imported in forbidden_imports() if id_ == contract}

    named = set(re.findall(r"- +(\S+ -> \S+)", broken_contracts[CONTRACTS[contract]]))

    assert planted
    assert planted <= named


@pytest.mark.parametrize("service", SERVICES)
def test_a_file_with_a_name_of_its_own_is_named(service: str, broken_contracts: dict[str, str]) -> None:
    assert f"- {service}.helpers" in broken_contracts[CONTRACTS["service-layers"]]


# What each may see: the stranger's test

SPIES = (  # a module of the copy, what stands there, and what is planted instead
    ("goals/api/views.py", "    lapsed: bool\n", "    lapsed: bool\n    wallet_id: str | None = None\n"),
    ("goals/api/contexts.py", 'BARE: Final = ("type", ', 'BARE: Final = ("type", "duration", '),
    ("shop/api/gifts.py", "def _view(", 'router.get("/gifts/{gift_id}/story")(read_gift)\n\n\ndef _view('),
    ("sessions/api/views.py", "return own or viewer_id == caller.user_id", "return True"),
)


def test_a_route_a_field_or_a_value_that_nobody_put_into_the_strangers_table_is_named(tmp_path: Path) -> None:
    tree = copy_of_the_sources(tmp_path)
    for file, text, planted in SPIES:
        source = next(tree / member / "src" / file for member in MEMBERS if (tree / member / "src" / file).exists())
        assert source.read_text().count(text) == 1
        source.write_text(source.read_text().replace(text, planted))
    sources = os.pathsep.join(str(tree / member / "src") for member in MEMBERS)
    test = ROOT / "tests/house/test_stranger_reads.py"

    options = ("-vv", "-p", "no:cacheprovider", "-k", "of_every_get or every_route")
    said = complaints("pytest", *options, test, cwd=ROOT, PYTHONPATH=sources, COLUMNS="999")

    for complaint in (
        "seen, and not in the table: GET /goals/{goal_id}: wallet_id",
        "seen, and not in the table: GET /goals: items[].wallet_id",
        "seen, and not in the table: GET /goals/{goal_id} of a refused invitation: stranger: context.duration",
        "seen, and not in the table: GET /gifts/{gift_id}/story: amount_diamonds count gift_id",
        "GET /sessions/{session_id} tells a stranger",
    ):
        assert complaint in said


# Time, ids and size: ruff

BANNED = """\
import datetime as dates
import os
import random
import secrets
import time
import uuid
from datetime import UTC, date, datetime
from bson import ObjectId
from bson.objectid import ObjectId as Id

datetime.now(UTC)
datetime.utcnow()
datetime.today()
dates.datetime.now(UTC)
date.today()
time.time()
time.time_ns()
uuid.uuid1()
uuid.uuid4()
uuid.uuid7()
os.urandom(8)
secrets.token_bytes()
secrets.token_hex()
secrets.token_urlsafe()
"""
HARMLESS = {
    "import datetime as dates",
    "import os",
    "import secrets",
    "import time",
    "import uuid",
    "from datetime import UTC, date, datetime",
    "",
}
TOO_BIG = {
    "PLR0913": "def too_many_parameters(a, b, c, d, e, f, g, h): ...",
    "PLR0915": "def too_many_statements():\n" + "    print()\n" * 41,
    "C901": "def too_many_branches(a):\n" + "    if a:\n        print()\n" * 11,
}


@pytest.fixture(scope="module")
def ruff_says(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str, str]]:
    """The member, the rule and the line of everything ruff finds in a planted module of each member."""
    tree = copy_of_the_sources(tmp_path_factory.mktemp("ruff"))
    text = BANNED + "\n".join(TOO_BIG.values())
    files = [tree / member / "src" / member.name.replace("-", "_") / "planted.py" for member in MEMBERS]
    for file in files:
        file.write_text(text)
    found = json.loads(complaints("ruff", "check", "--no-cache", "--output-format", "json", *files, cwd=tree))
    lines = text.splitlines()
    return {(Path(each["filename"]).parent.name, each["code"], lines[each["location"]["row"] - 1]) for each in found}


@pytest.mark.parametrize("member", [member.name.replace("-", "_") for member in MEMBERS])
def test_time_ids_and_chance_have_one_source_each(member: str, ruff_says: set[tuple[str, str, str]]) -> None:
    named = {line for where, rule, line in ruff_says if (where, rule) == (member, "TID251")}

    assert named == set(BANNED.splitlines()) - HARMLESS


@pytest.mark.parametrize("rule", TOO_BIG)
def test_a_function_that_is_too_big_is_named(rule: str, ruff_says: set[tuple[str, str, str]]) -> None:
    first_line = TOO_BIG[rule].splitlines()[0]

    assert (SERVICES[0], rule, first_line) in ruff_says


# The table and the domain: mypy

MISTYPED = '''\
"""Each line that ends in a code must be an error of that code."""

from dataclasses import dataclass, replace
from enum import Enum

from chassis.decision import Timer
from chassis.service import on, when
from chassis.storage.tx import Tx
from contracts import GoalCreatedV1, GoalEndedV1


class RefundDue(Timer, name="refund-due"):
    pass


class LapseDue(Timer, name="lapse-due"):
    pass


class Verdict(Enum):
    KEPT = "kept"
    BROKEN = "broken"


@dataclass(frozen=True)
class Hold:
    diamonds: int


async def refund(event: GoalEndedV1, tx: Tx) -> None: ...


async def lapse(timer: LapseDue, tx: Tx) -> None: ...


def settle(hold: Hold, verdict: Verdict) -> None:
    match verdict:  # exhaustive-match
        case Verdict.KEPT:
            replace(hold, diamonds=0)


on(GoalEndedV1, refund)
on(GoalCreatedV1, refund)  # arg-type
when(LapseDue, lapse)
when(RefundDue, lapse)  # arg-type
replace(Hold(1), diamond=2)  # call-arg
Hold(1).diamonds = 2  # misc
len(Hold(1))  # type: ignore
'''


def test_a_mispaired_handler_a_missing_case_and_a_misspelt_field_are_named(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(MISTYPED)

    said = complaints("mypy", "--no-pretty", "--config-file", ROOT / "pyproject.toml", planted, cwd=ROOT)

    named = set(re.findall(r"planted\.py:(\d+): error: .*\[([\w-]+)\]", said))
    expected = re.compile(r"  # ([\w-]+)$|(# type: ignore)$")
    marked = [(number, expected.search(line)) for number, line in enumerate(MISTYPED.splitlines(), 1)]
    assert named == {(str(number), mark[1] or "ignore-without-code") for number, mark in marked if mark}
