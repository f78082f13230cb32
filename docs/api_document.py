"""The API of the gateway as one OpenAPI document, made from the services' routes and the gateway's own file."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import api_examples
import api_texts
from pydantic.alias_generators import to_camel

from chassis.errors import Refusal
from chassis.http import openapi
from chassis.http.problems import EDGE_REFUSALS
from chassis.http.route import TxRoute
from chassis.service import Service

VERSION: Final = "1.0.0"
"""Of the API. Another first number is another API: only with it may something be taken away."""

GATEWAY: Final = Path(__file__).parents[1] / "deploy" / "gateway" / "routes.conf.template"

_PAGE = re.compile(r"\bPage_(?:Union_\w+?__)?([A-Za-z]+?)_+(?=\W)")
_OF_THE_GATEWAY: Final = (414, 429, 502, 504)
"""What it may answer to any request that it hands on; where a service answers, too, both are told."""


@dataclass(frozen=True, slots=True)
class Told:
    """A problem, as its page has it."""

    slug: str
    statuses: tuple[int, ...]
    """One, but where services see the same situation differently."""
    title: str
    advice: str


def document(services: Sequence[Service]) -> dict[str, Any]:
    """What the gateway lets through, in the order of the paths."""
    routes = public_routes(services)
    made = openapi.document("Footlights", VERSION, routes)
    made = json.loads(_PAGE.sub(r"PageOf\1", json.dumps(made)))
    named = {(method.lower(), one.path_format): one for one in routes for method in one.methods or ()}
    examples = api_examples.examples()
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            _complete(operation, method, named[method, path])
            if example := examples.get(operation["operationId"]):
                api_examples.show(operation, example)
    made["components"]["responses"] = _shared_refusals(made["paths"])
    schemas = made["components"]["schemas"]
    for problem in of_the_gateway():
        schemas.setdefault(openapi.schema_name(problem.slug), _schema(problem, schemas["Problem"]))
    for problem in problems(services):
        told = {"x-statuses": list(problem.statuses), "x-advice": problem.advice}
        schemas[openapi.schema_name(problem.slug)] |= told
    for name, schema in schemas.items():
        _describe(name, schema)
    made["components"]["schemas"] = dict(sorted(schemas.items()))
    made["components"]["headers"] = {
        name: {"description": text, "schema": {"type": type_}} for name, (text, type_) in api_texts.HEADERS.items()
    }
    made["components"]["securitySchemes"][openapi.BEARER]["description"] = _line(api_texts.BEARER)
    used = {tag for path in made["paths"].values() for operation in path.values() for tag in operation["tags"]}
    return {
        **made,
        "info": {**made["info"], "description": api_texts.INTRODUCTION},
        "servers": [{"url": "/", "description": "The gateway"}],
        "tags": [{"name": tag, "description": text} for tag, text in api_texts.TAGS.items() if tag in used],
        "paths": dict(sorted(made["paths"].items())),
    }


def public_routes(services: Sequence[Service]) -> list[TxRoute]:
    """Those that the gateway hands on to their service, without second names."""
    rows = _gateway_map("$uri $service")
    return [
        route
        for service in services
        for route in service.router.routes
        if isinstance(route, TxRoute)
        and route.include_in_schema
        and _answers(rows, route.path_format) == service.package
    ]


def problems(services: Sequence[Service]) -> list[Told]:
    """Every problem that can be answered, by its slug; the gateway's own among them."""
    refusals = {one for route in public_routes(services) for one in route.refusals} | set(EDGE_REFUSALS)
    told = {one.slug: one for one in of_the_gateway()}
    for refusal in sorted(refusals, key=lambda one: (one.SLUG, one.STATUS, one.__module__)):
        there = told.get(refusal.SLUG)
        statuses = sorted({refusal.STATUS, *(there.statuses if there else ())})
        told[refusal.SLUG] = _told(refusal, tuple(statuses))
    return [told[slug] for slug in sorted(told)]


def problems_page(services: Sequence[Service]) -> str:
    """docs/problems.md."""
    lines = [
        "# Problems",
        "",
        "Written by `python docs/generate.py` from the code. Every refusal is a document of RFC 9457, and its `type`",
        "is `/problems/` and one of these; at the gateway that address leads to the same text. `title` and `detail`",
        "are for people and may be reworded; `type` is stable.",
        "",
        "| `type` | status | when | what to do |",
        "|---|---|---|---|",
    ]
    rows = [
        f"| `{one.slug}` | {', '.join(map(str, one.statuses))} | {one.title} | {one.advice} |"
        for one in problems(services)
    ]
    return "\n".join([*lines, *rows]) + "\n"


def of_the_gateway() -> list[Told]:
    """What the gateway answers by itself."""
    titles = dict(_gateway_map("$status $problem_title"))
    rows = [(status, slug) for status, slug in _gateway_map("$status $problem_slug") if status.isdecimal()]
    return [
        Told(slug, (int(status),), titles[status].rstrip(".") + ".", api_texts.ADVICE[int(status)])
        for status, slug in rows
    ]


def _gateway_map(head: str) -> list[tuple[str, str]]:
    """The rows of one of the gateway's maps."""
    found = re.search(rf"^map {re.escape(head)} *\{{(.*?)^\}}", GATEWAY.read_text(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"{GATEWAY.name} has no map {head}")
    rows = re.findall(r'^\s*("[^"]*"|\S+)\s+("[^"]*"|[^\s;]+);', found[1], re.MULTILINE)
    return [(left.strip('"'), right.strip('"')) for left, right in rows]


def _answers(rows: Iterable[tuple[str, str]], path: str) -> str:
    """Which service the gateway asks for a path."""
    concrete = re.sub(r"\{\w+\}", "x", path)
    return next((service for pattern, service in rows if pattern[0] == "~" and re.match(pattern[1:], concrete)), "")


def _complete(operation: dict[str, Any], method: str, route: TxRoute) -> None:
    operation["operationId"] = route.operation_id or to_camel(route.name)
    operation.setdefault("description", operation["summary"])
    for status in _OF_THE_GATEWAY:
        own = [one for one in of_the_gateway() if one.statuses == (status,)]
        _add(operation["responses"], str(status), own)
    for status, response in operation["responses"].items():
        names = ["X-Request-Id"]
        if method != "get" and not route.rules.public and status[0] == "2":
            names.append("Idempotent-Replayed")
        if route.tagged and not route.rules.public and status in {"200", "304"}:
            names.append("ETag")
        if status in {"429", "503"}:
            names.append("Retry-After")
        refs = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        response["headers"] = response.get("headers", {}) | refs
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _shared_refusals(paths: Mapping[str, Any]) -> dict[str, Any]:
    """What several operations refuse alike, or need not answer, told once: what is left behind refers to it."""
    operations = [operation for path in paths.values() for operation in path.values()]
    refusals = [one for operation in operations for one in operation["responses"].items() if one[0] >= "304"]
    times = Counter(json.dumps(response, sort_keys=True) for _, response in refusals)
    shared: dict[str, Any] = {}
    for operation in operations:
        for status, response in operation["responses"].items():
            if times[json.dumps(response, sort_keys=True)] > 1:
                name = f"{_names_of(response)}{status}"
                if shared.setdefault(name, response) != response:
                    raise ValueError(f"two refusals are called {name}")
                operation["responses"][status] = {"$ref": f"#/components/responses/{name}"}
    return dict(sorted(shared.items()))


def _names_of(response: Mapping[str, Any]) -> str:
    """`StageTakenOrSessionOver`: the problems of a response; without any the caller has the answer."""
    if "content" not in response:
        return "NotModified"
    [body] = response["content"].values()
    refs = body["schema"].get("oneOf", [body["schema"]])
    return "Or".join(one["$ref"].rpartition("/")[2].removesuffix("Problem") for one in refs)


def _add(responses: dict[str, Any], status: str, problems: Sequence[Told]) -> None:
    names = {f"/problems/{one.slug}": openapi.SCHEMAS + openapi.schema_name(one.slug) for one in problems}
    response = responses.setdefault(status, {"description": " ".join(one.title for one in problems)})
    there = response.get("content", {}).get("application/problem+json", {}).get("schema", {})
    refs = {one["$ref"]: one for one in there.get("oneOf", [there] if there else [])}
    names = {f"/problems/{_slug(ref)}": ref for ref in refs} | names
    schema: dict[str, Any] = {"$ref": next(iter(names.values()))}
    if len(names) > 1:
        one_of = [{"$ref": ref} for ref in names.values()]
        schema = {"oneOf": one_of, "discriminator": {"propertyName": "type", "mapping": names}}
    response["content"] = {"application/problem+json": {"schema": schema}}


def _slug(ref: str) -> str:
    name = ref.rpartition("/")[2].removesuffix("Problem")
    return re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower()


def _schema(problem: Told, base: Mapping[str, Any]) -> dict[str, Any]:
    made: type[Refusal] = type(
        "OfTheGateway", (Refusal,), {"SLUG": problem.slug, "STATUS": problem.statuses[0], "__doc__": problem.title}
    )
    return openapi.problem_schema(made, base)


def _told(refusal: type[Refusal], statuses: tuple[int, ...]) -> Told:
    further = _line((refusal.__doc__ or "").strip().partition("\n")[2])
    return Told(refusal.SLUG, statuses, refusal.title(), further or api_texts.ADVICE[refusal.STATUS])


def _describe(name: str, schema: dict[str, Any]) -> None:
    """Give a schema a title of its own, and its properties a text each; titles of properties are only their names."""
    schema["title"] = name
    for one, of in schema.get("properties", {}).items():
        of.pop("title", None)
        text = api_texts.FIELDS.get(f"{name}.{one}") or of.get("description") or api_texts.FIELDS.get(one)
        if text:
            of["description"] = text


def _line(text: str) -> str:
    return " ".join(text.split())
