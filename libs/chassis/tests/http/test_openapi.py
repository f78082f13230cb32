"""The OpenAPI document: everything an endpoint can answer is in it, so that clients and fuzzers can rely on it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import schemathesis
from fastapi import Query

from chassis.errors import Conflict, Forbidden, NotFound, TooSoon
from chassis.http import FORM, Body, CallerDep, Page, PageDep, TxDep, TxRouter, UnixTime, paged
from chassis.service import Service
from chassis.storage.collection import Collection
from chassis_testing.service import ServiceHarness
from contracts.values import ObjectIdStr

USER, JAR = "a" * 24, "b" * 24


@dataclass(frozen=True, slots=True)
class Jar:
    id: str


JARS = Collection("jars", Jar)


class JarNotFound(NotFound, slug="jar-not-found"):
    """There is no such jar."""


class JarTaken(Conflict, slug="jar-taken"):
    """There is such a jar already."""


class JarSealed(Conflict, slug="jar-sealed"):
    """The jar is sealed."""


class Foreign(Forbidden, slug="foreign"):
    """The jar belongs to somebody else."""


class TooFast(TooSoon, slug="too-fast"):
    """Not so fast."""


class NewJar(Body):
    id: ObjectIdStr
    opens: UnixTime | None = None


class JarView(Body):
    id: str


class Letter(Body):
    text: str


router = TxRouter(tags=["jars"])


@router.post("/jars", status_code=201, refuses=(JarTaken, JarSealed, Foreign, TooFast), scope="CREATOR")
async def make_jar(body: NewJar, tx: TxDep) -> JarView:
    """Make a jar."""
    if await tx.get(JARS, body.id) is not None:
        raise JarTaken
    tx.put(JARS, Jar(body.id))
    return JarView(id=body.id)


@router.get("/jars")
async def list_jars(page: PageDep, tx: TxDep) -> Page[JarView]:
    return await paged(tx, JARS, {}, page, lambda jar: JarView(id=jar.id))


@router.get("/jars/oldest", refuses=(JarNotFound,))
async def get_oldest_jar(tx: TxDep) -> JarView:
    jar = await tx.find_one(JARS, {}, sort={"_id": 1})
    if jar is None:
        raise JarNotFound
    return JarView(id=jar.id)


@router.get("/weather", public=True)
async def get_weather() -> JarView:
    return JarView(id=JAR)


@router.delete("/jars/{jar_id}", refuses=(JarNotFound,))
async def break_jar(jar_id: ObjectIdStr, caller: CallerDep, tx: TxDep) -> None:  # noqa: ARG001 - as services have it
    if await tx.get(JARS, jar_id) is None:
        raise JarNotFound
    tx.delete(JARS, jar_id)


@router.post("/letters", public=True)
async def send_letter(body: Annotated[Letter, FORM], loud: Annotated[bool, Query()] = False) -> Letter:  # noqa: FBT002 - a query
    return Letter(text=body.text.upper() if loud else body.text)


SERVICE = Service(name="jars", router=router, collections=(JARS,))


@pytest.fixture
async def harness(harness_of: Callable[..., Awaitable[ServiceHarness]]) -> ServiceHarness:
    return await harness_of(SERVICE)


@pytest.fixture
async def document(harness: ServiceHarness) -> Any:
    return (await harness.client().get("/openapi.json")).json()


def types_of(document: Any, operation: Any, status: str) -> list[str]:
    schema = operation["responses"][status]["content"]["application/problem+json"]["schema"]
    refs = [one["$ref"] for one in schema.get("oneOf", [schema])]
    return sorted(
        document["components"]["schemas"][ref.rpartition("/")[2]]["properties"]["type"]["const"] for ref in refs
    )


async def test_every_refusal_is_documented_those_of_one_status_together(document: Any) -> None:
    operation = document["paths"]["/jars"]["post"]

    assert sorted(operation["responses"]) == ["201", "401", "403", "408", "409", "413", "422", "429", "503"]
    assert types_of(document, operation, "409") == ["/problems/jar-sealed", "/problems/jar-taken"]
    assert types_of(document, operation, "403") == ["/problems/foreign", "/problems/scope-missing"]
    assert types_of(document, operation, "401") == ["/problems/invalid-token", "/problems/token-missing"]
    assert types_of(document, operation, "503") == ["/problems/key-parked", "/problems/try-again"]
    assert operation["responses"]["409"]["description"] == "There is such a jar already. The jar is sealed."


async def test_only_what_can_happen_is_documented(document: Any) -> None:
    paths = document["paths"]

    assert sorted(paths["/jars"]["get"]["responses"]) == ["200", "304", "401", "422", "503"]
    assert sorted(paths["/jars/{jar_id}"]["delete"]["responses"]) == ["204", "401", "404", "408", "413", "422", "503"]
    assert sorted(paths["/letters"]["post"]["responses"]) == ["200", "408", "413", "422", "503"]
    assert sorted(paths["/jars/oldest"]["get"]["responses"]) == ["200", "304", "401", "404", "422", "503"]
    assert sorted(paths["/weather"]["get"]["responses"]) == ["200", "503"]


async def test_tokens_keys_ids_and_forms_are_documented(document: Any) -> None:
    post, delete = document["paths"]["/jars"]["post"], document["paths"]["/jars/{jar_id}"]["delete"]
    letters = document["paths"]["/letters"]["post"]

    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert (post["security"], "security" in letters) == ([{"bearer": ["CREATOR"]}], False)
    assert [parameter["name"] for parameter in post["parameters"]] == ["Idempotency-Key"]
    assert [parameter["name"] for parameter in delete["parameters"]] == ["jar_id", "Idempotency-Key"]
    assert delete["parameters"][0]["schema"]["pattern"] == "^[0-9a-f]{24}$"
    assert list(letters["requestBody"]["content"]) == ["application/x-www-form-urlencoded"]
    assert "content" not in delete["responses"]["204"]
    assert "Needs the scope `CREATOR`." in post["description"]


async def test_what_is_answered_is_what_is_documented(harness: ServiceHarness, document: Any) -> None:
    schema = schemathesis.openapi.from_dict(document)
    client = harness.client(USER, "CREATOR")
    answers = [
        ("/jars", "post", await client.post("/jars", json={"id": JAR})),
        ("/jars", "post", await client.post("/jars", json={"id": JAR})),
        ("/jars", "post", await client.post("/jars", json={"id": 1})),
        ("/jars", "post", await harness.client(USER).post("/jars", json={"id": JAR})),
        ("/jars", "get", await client.get("/jars")),
        ("/jars", "get", await harness.client().get("/jars")),
        ("/jars/oldest", "get", await client.get("/jars/oldest?no=1")),
        ("/jars/{jar_id}", "delete", await client.delete(f"/jars/{USER}")),
    ]

    for path, method, answer in answers:
        schema[path][method].validate_response(answer)
