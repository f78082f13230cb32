"""Requests made from an OpenAPI document: as it says, and not as it says; those that succeed lend them their values.

    schema = document(json)
    for case, borrows in cases(schema["/goals"]["POST"], seeded=24, fitting=8, unfit=16):
        if borrows:
            seed(case, path, query, body, chance)             # so that it gets beyond 404
        case.validate_response(await send(client, case), checks=CHECKS)

The same in every run, unless `FUZZ_TIMES` is set: so many times the requests, and others in every run.
"""

import os
import random  # noqa: TID251 - whoever tests gives one that does the same in every run
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import httpx
import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core import NotSet
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

TIMES: Final = int(os.environ.get("FUZZ_TIMES", "0"))
ID_LENGTH: Final = 24
BORROWED_SHARE: Final = 0.5  # of values that are no ids
CHECKS: Final[list[CheckFunction]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
SETTINGS: Final = hypothesis.settings(
    derandomize=not TIMES,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
CONFIG: Final = SchemathesisConfig(
    projects=ProjectsConfig(default=ProjectConfig(generation=GenerationConfig(with_security_parameters=False)))
)


def document(of: Mapping[str, Any]) -> Any:
    """The operations of an OpenAPI document, by path and method."""
    return schemathesis.openapi.from_dict(dict(of), config=CONFIG)


def made(operation: Any, mode: GenerationMode, count: int) -> list[Case[Any]]:
    """Requests as the document says, or not."""
    found: list[Case[Any]] = []

    @hypothesis.settings(SETTINGS, max_examples=count)
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def collect(case: Case[Any]) -> None:
        found.append(case)

    collect()
    return found


def cases(operation: Any, *, seeded: int, fitting: int, unfit: int) -> Iterator[tuple[Case[Any], bool]]:
    """The requests of one operation, so many of each kind at most, and whether they are to borrow values."""
    seeded, fitting, unfit = (count * (TIMES or 1) for count in (seeded, fitting, unfit))
    for at, case in enumerate(made(operation, GenerationMode.POSITIVE, seeded + fitting)):
        yield case, at >= fitting
    if operation.body or any(operation.iter_parameters()):  # without any, nothing can be wrong
        with suppress(Unsatisfiable):  # whatever is sent in its parameters is as documented: texts, as they like
            for case in made(operation, GenerationMode.NEGATIVE, unfit):
                yield case, False


def seed(
    case: Case[Any], path: Mapping[str, str], query: Mapping[str, str], body: Mapping[str, Any], chance: random.Random
) -> None:
    """Borrow the path of a request that succeeds, and what it has in common with this one."""
    case.path_parameters = dict(path)
    case.query = _graft({name: value for name, value in case.query.items() if name in query}, query, chance)
    case.query |= {name: value for name, value in query.items() if name == "type"}
    if not isinstance(case.body, NotSet):
        case.body = _graft(case.body, body, chance)


def _graft(made: Any, real: Any, chance: random.Random) -> Any:
    """`made` with the ids of `real` and a share of its other values; of different kinds, `real`."""
    if not isinstance(real, Mapping):
        is_id = isinstance(real, str) and len(real) >= ID_LENGTH
        return real if is_id or chance.random() < BORROWED_SHARE else made
    if not isinstance(made, Mapping) or not set(made) <= set(real):
        return real
    absent = {name: value for name, value in real.items() if name not in made and chance.random() < BORROWED_SHARE}
    return {name: _graft(value, real[name], chance) for name, value in made.items()} | absent


async def send(client: httpx.AsyncClient, case: Case[Any], base_url: str = "http://solo") -> httpx.Response:
    """The request; the client says who asks."""
    sent = case.as_transport_kwargs(base_url=base_url)
    if isinstance(sent.get("data"), bytes | str):  # as httpx calls it
        sent["content"] = sent.pop("data")
    del sent["cookies"]  # nobody reads them
    return await client.request(**sent)
