"""Requests made from the OpenAPI documents: no 5xx, and every answer is as the document says (SPEC §2).

The ids, and some of the other values, are borrowed from a request that would succeed, so that fuzzing gets beyond 404;
how often each operation succeeded is printed, and one that never did fails.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core import NotSet
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from chassis.http import create_app
from chassis_testing.service import ServiceHarness
from escrow.service import SERVICE as ESCROW

if TYPE_CHECKING:
    from tests.input.conftest import Deed, Way

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

TIMES = int(os.environ.get("FUZZ_TIMES", "0"))  # set: so many times the requests, and others in every run
# Requests of each operation: with borrowed values, without, and not as documented
SEEDED, FITTING, UNFIT = (count * (TIMES or 1) for count in (24, 8, 16))
ID_LENGTH = 24
CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
SETTINGS = hypothesis.settings(
    derandomize=not TIMES,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CONFIG = SchemathesisConfig(
    projects=ProjectsConfig(default=ProjectConfig(generation=GenerationConfig(with_security_parameters=False)))
)


def _made(operation: Any, mode: GenerationMode, count: int) -> list[Case[Any]]:
    """Requests as the document says, or not; the same in every run."""
    made: list[Case[Any]] = []

    @hypothesis.settings(SETTINGS, max_examples=count)
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def collect(case: Case[Any]) -> None:
        made.append(case)

    collect()
    return made


def _cases(operation: Any) -> Iterator[tuple[Case[Any], bool]]:
    """The requests of one operation, and whether they borrow values."""
    for at, case in enumerate(_made(operation, GenerationMode.POSITIVE, SEEDED + FITTING)):
        yield case, at >= FITTING
    unfit = UNFIT if operation.body or any(operation.iter_parameters()) else 0  # without any, nothing can be wrong
    for case in _made(operation, GenerationMode.NEGATIVE, unfit) if unfit else ():
        yield case, False


def _seed(case: Case[Any], deed: "Deed", chance: random.Random) -> None:
    """Borrow the path of a request that succeeds, and what it has in common with this one."""
    case.path_parameters = dict(deed.path)
    case.query = _graft({name: value for name, value in case.query.items() if name in deed.query}, deed.query, chance)
    case.query |= {name: value for name, value in deed.query.items() if name == "type"}
    if not isinstance(case.body, NotSet):
        case.body = _graft(case.body, deed.body, chance)


def _graft(made: Any, real: Any, chance: random.Random) -> Any:
    """`made` with the ids of `real` and every second one of its other values; of different kinds, `real`."""
    if not isinstance(real, Mapping):
        is_id = isinstance(real, str) and len(real) >= ID_LENGTH
        return real if is_id or chance.random() < 0.5 else made
    if not isinstance(made, Mapping) or not set(made) <= set(real):
        return real
    absent = {name: value for name, value in real.items() if name not in made and chance.random() < 0.5}
    return {name: _graft(value, real[name], chance) for name, value in made.items()} | absent


async def _send(client: httpx.AsyncClient, case: Case[Any]) -> httpx.Response:
    sent = case.as_transport_kwargs(base_url="http://solo")
    if isinstance(sent.get("data"), bytes | str):  # as httpx calls it
        sent["content"] = sent.pop("data")
    del sent["cookies"]  # nobody reads them
    return await client.request(**sent)


async def test_no_request_breaks_a_service(
    ways: "list[Way]", harness_of: HarnessOf, record_property: Callable[[str, object], None]
) -> None:
    service = ways[0].service
    harness = await harness_of(service)
    document = create_app(service, harness.runtime, harness.settings).openapi()
    schema = schemathesis.openapi.from_dict(document, config=CONFIG)
    succeeded: dict[str, Counter[bool]] = {}

    for way in ways:
        if way.template not in document["paths"]:
            continue  # an alias
        succeeded[way.label] = await _fuzz(harness, way, schema[way.template][way.method])

    figures = [f"  {times[True]:4} / {times.total():3}  {label}" for label, times in succeeded.items()]
    record_property("figures", "\n".join([f"{service.name}: 2xx / requests", *figures]))
    assert [label for label, times in succeeded.items() if not times[True]] == []


async def _fuzz(harness: ServiceHarness, way: "Way", operation: Any) -> Counter[bool]:
    """Send one operation's requests; returns how many succeeded, and how many did not."""
    chance = random.Random(way.label)
    deed = await way.prepare(harness)
    succeeded: Counter[bool] = Counter()
    for case, seeded in _cases(operation):
        if seeded:
            _seed(case, deed, chance)
        async with harness.client(deed.user, *deed.scopes) as client:
            answer = await _send(client, case)
        case.validate_response(answer, checks=CHECKS)
        succeeded[answer.is_success] += 1
        if answer.is_success and way.method != "GET":
            deed = await way.prepare(harness)
    return succeeded


def _answer(status: int, body: object, content_type: str) -> httpx.Response:
    request = httpx.Request("GET", "http://solo/wallets/me")
    answer = httpx.Response(status, headers={"content-type": content_type}, content=json.dumps(body), request=request)
    answer.elapsed = timedelta()
    return answer


async def test_a_wrong_answer_would_be_noticed(harness_of: HarnessOf) -> None:
    harness = await harness_of(ESCROW)
    schema = schemathesis.openapi.from_dict(
        create_app(ESCROW, harness.runtime, harness.settings).openapi(), config=CONFIG
    )
    [case] = _made(schema["/wallets/me"]["GET"], GenerationMode.POSITIVE, 1)
    wallet = {"user_id": "me", "balance_diamonds": 1, "earnings_diamonds": 0, "owed_diamonds": 0}
    problem = {"type": "/problems/unheard-of", "title": "?", "instance": "1"}

    case.validate_response(_answer(200, wallet, "application/json"), checks=CHECKS)
    for wrong in (
        _answer(500, problem | {"status": 500}, "application/problem+json"),
        _answer(418, problem | {"status": 418}, "application/problem+json"),
        _answer(401, problem | {"status": 401}, "application/problem+json"),
        _answer(200, wallet | {"balance_diamonds": "1"}, "application/json"),
        _answer(200, wallet, "text/html"),
    ):
        with pytest.raises(FailureGroup):
            case.validate_response(wrong, checks=CHECKS)
