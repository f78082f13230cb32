"""Requests made from the OpenAPI documents: no 5xx, and every answer is as the document says (SPEC §2).

The ids, and some of the other values, are borrowed from a request that would succeed, so that fuzzing gets beyond 404;
how often each operation succeeded is printed, and one that never did fails.
"""

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup

from chassis.http import create_app
from chassis_testing.fuzzing import CHECKS, cases, document, made, seed, send
from chassis_testing.service import ServiceHarness
from escrow.service import SERVICE as ESCROW

if TYPE_CHECKING:
    from tests.input.conftest import Way

HarnessOf = Callable[..., Awaitable[ServiceHarness]]

# Requests of each operation: with borrowed values, without, and not as documented
SEEDED, FITTING, UNFIT = 24, 8, 16


async def test_no_request_breaks_a_service(
    ways: "list[Way]", harness_of: HarnessOf, record_property: Callable[[str, object], None]
) -> None:
    service = ways[0].service
    harness = await harness_of(service)
    described = create_app(service, harness.runtime, harness.settings).openapi()
    schema = document(described)
    succeeded: dict[str, Counter[bool]] = {}

    for way in ways:
        if way.template not in described["paths"]:
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
    for case, borrows in cases(operation, seeded=SEEDED, fitting=FITTING, unfit=UNFIT):
        if borrows:
            seed(case, deed.path, deed.query, deed.body, chance)
        async with harness.client(deed.user, *deed.scopes) as client:
            answer = await send(client, case)
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
    schema = document(create_app(ESCROW, harness.runtime, harness.settings).openapi())
    [case] = made(schema["/wallets/me"]["GET"], GenerationMode.POSITIVE, 1)
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
