"""The edge on one small service: what is looked at first, what comes back, and that nothing comes before the commit."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import httpx
import jwt
import pytest
from fastapi import Query, Response
from prometheus_client import REGISTRY
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from chassis import ids
from chassis.errors import Conflict, Forbidden, NotFound, NotYet, TooSoon
from chassis.http import FORM, Body, CallerDep, RawBody, TxDep, TxRouter, arguments, create_app, openapi, retries
from chassis.http.denied import deny
from chassis.http.edge import WAITING_OF_ONE_MAX, ConcurrencyLimit
from chassis.kafka.parking import PARKED_KEYS, ParkedKey
from chassis.service import Service
from chassis.storage.collection import Collection, Index
from chassis.storage.mongo import Mongo
from chassis.storage.tx import Tx
from chassis_testing.service import ServiceHarness, access_token
from contracts import ViewerBlockedV1, attributes_of
from contracts.values import ObjectIdStr

USER, OTHER = "a" * 24, "c" * 24
JAR, LABEL = "b" * 24, "d" * 24


@dataclass(frozen=True, slots=True)
class Jar:
    id: str
    owner: str
    label: str
    beans: int = 0


JARS = Collection("jars", Jar, indexes=(Index({"label": 1}, unique=True),))


class JarNotFound(NotFound, slug="jar-not-found"):
    """There is no such jar."""


class JarTaken(Conflict, slug="jar-taken"):
    """There is such a jar already."""


class Foreign(Forbidden, slug="foreign"):
    """The jar belongs to somebody else."""


class Full(TooSoon, slug="full"):
    """Not so soon after the last bean."""


class NewJar(Body):
    id: ObjectIdStr
    label: str


class Beans(Body):
    beans: Annotated[int, Query(ge=1, le=1_000)]


class JarView(Body):
    id: str
    beans: int


class Letter(Body):
    channel: str


class Gate:
    """Where an endpoint waits for its test."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()
        self.runs = 0

    async def __call__(self) -> None:
        self.runs += 1
        self.reached.set()
        await self.open.wait()


gate = Gate()
router = TxRouter(tags=["jars"])


@router.post("/jars", status_code=201, refuses=(JarTaken,))
async def make_jar(body: NewJar, caller: CallerDep, tx: TxDep) -> JarView:
    if await tx.find_one(JARS, {"label": body.label}) is not None:
        raise JarTaken(label=body.label)
    tx.put(JARS, Jar(body.id, caller.user_id, body.label))
    return JarView(id=body.id, beans=0)


@router.post("/slow-jars", status_code=201, refuses=(JarTaken,))
async def make_jar_slowly(body: NewJar, caller: CallerDep, tx: TxDep) -> JarView:
    if await tx.find_one(JARS, {"label": body.label}) is not None:
        raise JarTaken
    await gate()
    tx.put(JARS, Jar(body.id, caller.user_id, body.label))
    return JarView(id=body.id, beans=0)


@router.post("/blind-jars", status_code=201)
async def make_jar_blindly(body: NewJar, caller: CallerDep, tx: TxDep) -> JarView:
    gate.runs += 1
    tx.put(JARS, Jar(body.id, caller.user_id, body.label))
    return JarView(id=body.id, beans=0)


@router.get("/jars/{jar_id}", refuses=(JarNotFound,))
async def get_jar(jar_id: ObjectIdStr, tx: TxDep) -> JarView:
    jar = await tx.get(JARS, jar_id)
    if jar is None:
        raise NotYet("jar")
    return JarView(id=jar.id, beans=jar.beans)


@router.get("/labels/{label}", refuses=(JarNotFound,), etag=False)
async def get_labelled(label: str, tx: TxDep) -> JarView:
    jar = await tx.find_one(JARS, {"label": label})
    if jar is None:
        raise NotYet("jar")
    return JarView(id=jar.id, beans=jar.beans)


@router.put("/jars/{jar_id}/beans", refuses=(JarNotFound, Foreign, JarTaken, Full), scope="CREATOR")
async def add_beans(
    jar_id: ObjectIdStr,
    kind: Annotated[Literal["red", "blue", "hot"], Query()],
    body: Beans,
    caller: CallerDep,
    tx: TxDep,
) -> None:
    jar = await tx.get(JARS, jar_id)
    if jar is None:
        raise JarNotFound
    if jar.owner != caller.user_id:
        raise Foreign
    if kind == "blue":
        raise JarTaken
    if kind == "hot":
        raise Full(retry_after_seconds=2.2)
    tx.put(JARS, replace(jar, beans=jar.beans + body.beans))


@router.delete("/jars/{jar_id}", refuses=())
async def break_jar(jar_id: ObjectIdStr, tx: TxDep) -> None:
    tx.delete(JARS, jar_id)
    tx.emit(ViewerBlockedV1(streamer_id=jar_id, viewer_id=OTHER))


@router.post("/jars/{jar_id}/lids", status_code=201, responses={202: {"model": JarView}})
async def order_lid(jar_id: ObjectIdStr, response: Response) -> JarView:
    response.status_code = 202
    response.headers["location"] = f"/jars/{jar_id}"
    return JarView(id=jar_id, beans=0)


@router.post("/letters", public=True)
async def send_letter(body: Annotated[Letter, FORM], raw: RawBody) -> dict[str, str]:
    return {"channel": body.channel, "raw": raw.decode()}


@router.get("/elsewhere", public=True)
async def elsewhere() -> RedirectResponse:
    return RedirectResponse("https://example.org/", 303)


@router.get("/broken")
async def broken() -> None:
    raise LookupError("the secret 4711")


@router.get("/undeclared")
async def undeclared() -> None:
    raise JarTaken


SERVICE = Service(name="jars", router=router, collections=(JARS,))


@pytest.fixture
async def harness(harness_of: Callable[..., Awaitable[ServiceHarness]]) -> ServiceHarness:
    gate.__init__()  # type: ignore[misc] # a gate of this test's own, at the place the endpoint knows
    return await harness_of(SERVICE)


@pytest.fixture
async def client(harness: ServiceHarness) -> AsyncIterator[httpx.AsyncClient]:
    async with harness.client(USER, "CREATOR") as client:
        yield client


async def jars(harness: ServiceHarness) -> list[Jar]:
    async with harness.tx() as tx:
        return await tx.find(JARS, {})


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and slug; every refusal has this form."""
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == response.status_code
    assert document["instance"] == response.headers["x-request-id"]
    assert document["title"]
    return response.status_code, document["type"].removeprefix("/problems/")


# -- the order of things -----------------------------------------------------------------------------------------------


async def test_401_comes_before_413_before_422_before_403_before_404_before_409_before_429(
    harness: ServiceHarness,
) -> None:
    stranger, viewer, owner = harness.client(), harness.client(USER), harness.client(USER, "CREATOR")
    huge = b"x" * 70_000
    missing, bad = f"/jars/{JAR}/beans?kind=blue", "/jars/nothing/beans?kind=pink"

    assert problem(await stranger.put(bad, content=huge)) == (401, "token-missing")
    assert problem(await viewer.put(bad, content=huge)) == (413, "body-too-large")
    assert problem(await viewer.put(bad, json={"beans": 0})) == (422, "invalid-request")
    assert problem(await viewer.put(missing, json={"beans": 0})) == (422, "invalid-request")
    refused = await viewer.put(missing, json={"beans": 1})
    assert problem(refused) == (403, "scope-missing")
    assert refused.headers["www-authenticate"].endswith(
        f'error="insufficient_scope", scope="{refused.json()["scope"]}"'
    )
    assert refused.json()["scope"] in refused.json()["detail"]
    assert problem(await owner.put(missing, json={"beans": 1})) == (404, "jar-not-found")
    await owner.post("/jars", json={"id": JAR, "label": "x"})
    assert problem(await owner.put(missing, json={"beans": 1})) == (409, "jar-taken")
    full = await owner.put(f"/jars/{JAR}/beans?kind=hot", json={"beans": 1})
    assert (problem(full), full.headers["retry-after"]) == ((429, "full"), "3")
    assert problem(await harness.client(OTHER, "CREATOR").put(missing, json={"beans": 1})) == (403, "foreign")


async def test_who_finds_no_room_is_asked_to_try_again(harness: ServiceHarness) -> None:
    app, concurrency = create_app(SERVICE, harness.runtime, harness.settings), ConcurrencyLimit(1)
    app.state.edge = replace(app.state.edge, concurrency=concurrency)
    headers = {"authorization": f"Bearer {access_token(USER)}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers) as client:
        with concurrency.acquire():
            refused = await client.post("/jars", json={"id": JAR, "label": "x"})
        taken = [await client.post("/jars", json={"id": id_, "label": id_}) for id_ in (JAR, OTHER)]

    assert (problem(refused), refused.headers["retry-after"]) == ((503, "try-again"), "1")
    assert [answer.status_code for answer in taken] == [201, 201]


async def test_a_command_without_a_body_to_parse_refuses_a_huge_one_too(client: httpx.AsyncClient) -> None:
    response = await client.request("DELETE", f"/jars/{JAR}", content=b"x" * 70_000)

    assert problem(response) == (413, "body-too-large")


async def test_a_wrong_field_is_named_and_never_repeated(client: httpx.AsyncClient) -> None:
    response = await client.put("/jars/J4R/beans?kind=p1nk", json={"beans": 1})

    assert [error["field"] for error in response.json()["errors"]] == ["jar_id", "kind"]
    assert "J4R" not in response.text
    assert "p1nk" not in response.text


async def test_paths_and_methods_that_do_not_exist_are_problems_too(client: httpx.AsyncClient) -> None:
    other_method = await client.patch(f"/jars/{JAR}")

    assert problem(await client.get("/nothing")) == (404, "no-such-route")
    assert problem(await client.get("/jars/")) == (404, "no-such-route")
    assert problem(other_method) == (405, "method-not-allowed")
    assert other_method.headers["allow"] == "DELETE, GET, HEAD"


@pytest.mark.parametrize(
    ("status", "told"), [(404, (404, "no-such-route")), (418, (400, "bad-request")), (503, (500, "internal-error"))]
)
async def test_whatever_the_router_raises_is_a_problem(
    harness: ServiceHarness, status: int, told: tuple[int, str]
) -> None:
    async def refuse(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise HTTPException(status)

    app = create_app(SERVICE, harness.runtime, harness.settings)
    app.router.routes.insert(0, Mount("/unheard", refuse))

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert problem(await client.get("/unheard/of")) == told


async def test_a_path_is_spelt_in_one_way_but_for_percents(client: httpx.AsyncClient) -> None:
    """Another spelling would have Idempotency-Keys of its own: a command sent twice would be done twice."""
    await client.post("/jars", json={"id": JAR, "label": "x"})
    command: dict[str, Any] = {"json": {"beans": 1}, "headers": {"idempotency-key": "once"}}
    assert (await client.put(f"/jars/{JAR}/beans?kind=red", **command)).status_code == 204

    for path in ("beans%0a", "beans%0D%0A", "beans/", "Beans", "beans%20", "beans;", "beans%2f", "/beans"):
        assert problem(await client.put(f"/jars/{JAR}/{path}?kind=red", **command)) == (404, "no-such-route"), path
    assert (await client.put(f"/jars/{JAR}/%62eans?kind=red", **command)).status_code == 204
    assert (await client.get(f"/jars/{JAR}")).json()["beans"] == 1


async def test_head_is_answered_as_get_without_the_body(client: httpx.AsyncClient) -> None:
    await client.post("/jars", json={"id": JAR, "label": "x"})
    for path in (f"/jars/{JAR}", "/jars/nothing", "/nothing", "/openapi.json"):
        get, head = await client.get(path), await client.head(path)

        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-length"] == str(len(get.content))
    refused = await client.head("/letters")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


async def test_who_has_the_answer_already_is_told_so_without_it(client: httpx.AsyncClient) -> None:
    """Also if the gateway has made the tag a weak one, as it does where it compresses the answer."""
    await client.post("/jars", json={"id": JAR, "label": "x"})
    first = await client.get(f"/jars/{JAR}")
    tag = first.headers["etag"]

    for known in (tag, f"W/{tag}", f'"other", W/{tag}'):
        again = await client.get(f"/jars/{JAR}", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), known
        assert "content-length" not in again.headers
        assert again.headers["cache-control"] == "no-store"
    for other in ('"other"', tag.strip('"'), ""):
        assert (await client.get(f"/jars/{JAR}", headers={"if-none-match": other})).content == first.content, other
    await client.put(f"/jars/{JAR}/beans?kind=red", json={"beans": 1})
    changed = await client.get(f"/jars/{JAR}", headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()["beans"]) == (200, 1)
    assert changed.headers["etag"] != tag


async def test_what_is_refused_or_commanded_has_no_tag(client: httpx.AsyncClient) -> None:
    made = await client.post("/jars", json={"id": JAR, "label": "x"})
    refused = await client.get("/jars/nothing", headers={"if-none-match": "*"})

    assert (made.status_code, "etag" in made.headers) == (201, False)
    assert (problem(refused)[0], "etag" in refused.headers) == (422, False)


async def test_a_query_that_wants_no_tag_has_none_and_declares_none(client: httpx.AsyncClient) -> None:
    await client.post("/jars", json={"id": JAR, "label": "x"})

    answer = await client.get("/labels/x", headers={"if-none-match": "*"})

    assert (answer.status_code, answer.json()["id"], "etag" in answer.headers) == (200, JAR, False)
    paths = openapi.document("jars", "1", router.routes)["paths"]
    declared = ["304" in paths[path]["get"]["responses"] for path in ("/jars/{jar_id}", "/labels/{label}")]
    assert declared == [True, False]


async def test_a_stored_answer_is_not_for_who_has_lost_the_scope(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    await client.post("/jars", json={"id": JAR, "label": "x"})
    add: dict[str, Any] = {
        "url": f"/jars/{JAR}/beans?kind=red", "json": {"beans": 1}, "headers": {"idempotency-key": "k"}
    }  # fmt: skip

    assert (await client.put(**add)).status_code == 204
    assert problem(await harness.client(USER).put(**add)) == (403, "scope-missing")
    assert (await client.put(**add)).status_code == 204


async def test_an_authorization_or_a_key_that_is_there_twice_is_refused(client: httpx.AsyncClient) -> None:
    jar, token = {"id": JAR, "label": "x"}, client.headers["authorization"]

    tokens = await client.post("/jars", json=jar, headers=[("authorization", token), ("authorization", token)])
    keys = await client.post("/jars", json=jar, headers=[("idempotency-key", "a"), ("idempotency-key", "b")])

    assert problem(tokens) == (401, "invalid-token")
    assert (problem(keys), keys.json()["errors"][0]["field"]) == ((422, "invalid-request"), "idempotency-key")


async def test_a_denied_token_is_refused_within_a_second_and_others_are_not(harness: ServiceHarness) -> None:
    client, other = harness.client(USER), harness.client(USER)
    jti = jwt.decode(client.headers["authorization"][7:], options={"verify_signature": False})["jti"]
    assert (await client.get("/broken")).status_code == 500

    await deny(harness.runtime.database, harness.runtime.clock, jti, 60)
    harness.clock.advance(1)

    assert problem(await client.get("/broken")) == (401, "invalid-token")
    assert (await other.get("/broken")).status_code == 500


async def test_every_answer_says_that_it_is_not_to_be_kept_nor_guessed_at(client: httpx.AsyncClient) -> None:
    for answer in (await client.get("/nothing"), await client.get("/broken"), await client.get(f"/jars/{JAR}")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


# -- what is answered --------------------------------------------------------------------------------------------------


async def test_put_and_delete_answer_204_with_nothing_in_it(client: httpx.AsyncClient) -> None:
    await client.post("/jars", json={"id": JAR, "label": "x"})

    put = await client.put(f"/jars/{JAR}/beans?kind=red", json={"beans": 3})
    deleted = await client.delete(f"/jars/{JAR}")

    assert (put.status_code, put.content, deleted.status_code, deleted.content) == (204, b"", 204, b"")
    assert "content-length" not in put.headers
    assert "content-type" not in put.headers


async def test_members_of_a_refusal_stand_in_the_problem(client: httpx.AsyncClient) -> None:
    await client.post("/jars", json={"id": JAR, "label": "x"})

    refused = await client.post("/jars", json={"id": USER, "label": "x"})

    assert problem(refused) == (409, "jar-taken")
    assert refused.json()["label"] == "x"


async def test_an_endpoint_may_choose_another_of_its_statuses(client: httpx.AsyncClient) -> None:
    response = await client.post(f"/jars/{JAR}/lids")

    assert (response.status_code, response.headers["location"]) == (202, f"/jars/{JAR}")
    assert response.json() == {"id": JAR, "beans": 0}


async def test_a_public_endpoint_takes_forms_and_sees_the_bytes_as_they_came(harness: ServiceHarness) -> None:
    response = await harness.client().post("/letters", data={"channel": "a b"})

    assert response.json() == {"channel": "a b", "raw": "channel=a+b"}


async def test_a_response_made_by_the_endpoint_is_sent_as_it_is(harness: ServiceHarness) -> None:
    response = await harness.client().get("/elsewhere")

    assert (response.status_code, response.headers["location"]) == (303, "https://example.org/")


async def test_what_is_broken_is_a_500_that_tells_nothing(client: httpx.AsyncClient) -> None:
    response = await client.get("/broken")

    assert problem(response) == (500, "internal-error")
    assert "4711" not in response.text


async def test_an_undeclared_refusal_is_answered_and_counted_as_a_bug(client: httpx.AsyncClient) -> None:
    labels = {"method": "GET", "route": "/undeclared", "slug": "jar-taken"}
    before = REGISTRY.get_sample_value("http_undeclared_refusals_total", labels) or 0

    assert problem(await client.get("/undeclared")) == (409, "jar-taken")
    assert REGISTRY.get_sample_value("http_undeclared_refusals_total", labels) == before + 1


async def test_requests_are_counted_by_route_and_not_by_path(client: httpx.AsyncClient) -> None:
    labels = {"method": "GET", "route": "/jars/{jar_id}", "status": "404"}
    before = REGISTRY.get_sample_value("http_requests_total", labels) or 0

    await client.get(f"/jars/{JAR}")

    assert REGISTRY.get_sample_value("http_requests_total", labels) == before + 1


# -- who asked ---------------------------------------------------------------------------------------------------------


async def test_the_ids_of_a_request_go_into_what_follows_from_it(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    ids = {"x-request-id": "request-1", "x-client-id": "client-1"}

    response = await client.delete(f"/jars/{JAR}", headers=ids)
    row = await harness.runtime.database["outbox"].find_one({})

    assert response.headers["x-request-id"] == "request-1"
    assert row is not None
    attributes = attributes_of(list(row["headers"].items()))
    assert (attributes.correlation_id, attributes.causation_id) == ("request-1", None)


async def test_a_strangers_trace_is_not_continued(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    await client.delete(f"/jars/{JAR}", headers={"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"})

    row = await harness.runtime.database["outbox"].find_one({})
    assert row is not None
    assert attributes_of(list(row["headers"].items())).traceparent is None


@pytest.mark.parametrize("malformed", ["", "a b", "x" * 65, "ü", "a\x00", "../etc", "a,b"])
async def test_a_malformed_request_id_is_replaced(client: httpx.AsyncClient, malformed: str) -> None:
    response = await client.get(f"/jars/{JAR}", headers=[(b"x-request-id", malformed.encode())])

    assert len(response.headers["x-request-id"]) == 24


# -- commit, then answer -----------------------------------------------------------------------------------------------


async def test_a_commit_that_fails_is_never_answered_with_success(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    assert (await client.post("/blind-jars", json={"id": JAR, "label": "x"})).status_code == 201
    gate.runs = 0

    response = await client.post("/blind-jars", json={"id": OTHER, "label": "x"})

    assert problem(response) == (500, "internal-error")
    assert gate.runs == 1 + retries.DUPLICATES_MAX
    assert [jar.id for jar in await jars(harness)] == [JAR]


async def test_who_loses_a_race_for_a_unique_value_is_refused_properly(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    slow = asyncio.create_task(client.post("/slow-jars", json={"id": JAR, "label": "x"}))
    await gate.reached.wait()
    fast = await client.post("/jars", json={"id": OTHER, "label": "x"})
    gate.open.set()

    assert fast.status_code == 201
    assert problem(await slow) == (409, "jar-taken")
    assert gate.runs == 1
    assert [jar.id for jar in await jars(harness)] == [OTHER]


async def test_commands_on_one_document_wait_for_each_other(harness: ServiceHarness, client: httpx.AsyncClient) -> None:
    await client.post("/jars", json={"id": JAR, "label": "x"})

    path = f"/jars/{JAR}/beans?kind=red"
    answers = await asyncio.gather(*(client.put(path, json={"beans": 1}) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {204}
    assert [jar.beans for jar in await jars(harness)] == [20]


async def test_a_query_writes_nothing_and_opens_no_transaction(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    await client.post("/jars", json={"id": JAR, "label": "x"})
    before = await transactions(harness.runtime.mongo, "totalStarted")

    assert (await client.get(f"/jars/{JAR}")).status_code == 200
    assert await transactions(harness.runtime.mongo, "totalStarted") == before


async def test_a_client_that_leaves_does_not_disturb_its_command(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    request = asyncio.create_task(client.post("/slow-jars", json={"id": JAR, "label": "x"}))
    await gate.reached.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request

    gate.open.set()
    await retries.all_done()

    assert [jar.id for jar in await jars(harness)] == [JAR]
    assert await transactions(harness.runtime.mongo, "currentOpen") == 0


async def test_a_client_that_leaves_within_its_body_changes_nothing(harness: ServiceHarness) -> None:
    token = harness.client(USER).headers["authorization"]
    parts = iter([{"type": "http.request", "body": b'{"id":', "more_body": True}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(parts)

    async def send(message: Any) -> None:
        sent.append(message)

    app = create_app(SERVICE, harness.runtime, harness.settings)
    await app(asgi_scope("POST", "/jars", token), receive, send)

    assert sent == []
    assert await jars(harness) == []


def asgi_scope(method: str, path: str, token: str) -> dict[str, Any]:
    headers = {"authorization": token, "content-type": "application/json", "transfer-encoding": "chunked"}
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }


async def transactions(mongo: Mongo, name: str) -> int:
    status = await mongo.client.admin.command("serverStatus")
    return int(status["transactions"][name])


# -- waiting for another service ---------------------------------------------------------------------------------------


async def test_what_is_not_known_yet_is_waited_for(harness_of: Callable[..., Awaitable[ServiceHarness]]) -> None:
    harness = await harness_of(SERVICE, UNKNOWN_WAIT_SECONDS=5)
    client = harness.client(USER)
    asking = asyncio.create_task(client.get(f"/jars/{JAR}"))
    await asyncio.sleep(0.12)  # two looks or more, and nothing there
    await client.post("/jars", json={"id": JAR, "label": "x"})

    answer = await asking

    assert (answer.status_code, answer.json()["id"]) == (200, JAR)


async def test_what_no_document_tells_of_is_tried_again_ever_less_often(
    harness_of: Callable[..., Awaitable[ServiceHarness]], monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = await harness_of(SERVICE, UNKNOWN_WAIT_SECONDS=2)
    looks: list[float] = []
    find = Tx.find

    async def counted(*arguments: Any, **options: Any) -> Any:
        looks.append(time.monotonic())
        return await find(*arguments, **options)

    monkeypatch.setattr(Tx, "find", counted)
    answer = await harness.client(USER).get("/labels/none")

    assert answer.status_code == 404
    assert len(looks) == 7
    assert 1.9 < looks[-1] - looks[0] < 4


async def test_who_waits_for_what_is_not_known_takes_a_place_of_few(
    harness_of: Callable[..., Awaitable[ServiceHarness]],
) -> None:
    harness = await harness_of(SERVICE, UNKNOWN_WAIT_SECONDS=1)
    one, other = harness.client(USER), harness.client(OTHER)

    answers = await asyncio.gather(
        *(one.get(f"/jars/{JAR}") for _ in range(WAITING_OF_ONE_MAX + 2)), other.get(f"/jars/{JAR}")
    )

    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses[:-1]) == [404] * WAITING_OF_ONE_MAX + [503] * 2
    assert statuses[-1] == 404
    assert (await one.get(f"/jars/{JAR}")).status_code == 404


async def test_what_stays_unknown_is_a_404_with_the_declared_title(client: httpx.AsyncClient) -> None:
    response = await client.get(f"/jars/{JAR}")

    assert problem(response) == (404, "jar-not-found")
    assert response.json()["title"] == "There is no such jar."


async def test_a_command_does_not_publish_behind_a_parked_key(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    parked = ParkedKey(
        "p", "goals/0", "goals", JAR, "m", "goal.ended.v1", "broken", harness.now, harness.now, state="parked"
    )
    async with harness.tx() as tx:
        tx.put(PARKED_KEYS, parked)

    refused = await client.delete(f"/jars/{JAR}")
    assert problem(refused) == (503, "key-parked")
    assert refused.headers["retry-after"] == "1"
    assert await harness.take() == []
    assert (await client.delete(f"/jars/{OTHER}")).status_code == 204

    async with harness.tx() as tx:
        tx.delete(PARKED_KEYS, "p")
    harness.clock.advance(1.1)
    assert (await client.delete(f"/jars/{JAR}")).status_code == 204


async def test_while_too_much_waits_commands_are_refused_with_the_reason_and_queries_are_not(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    harness.runtime.backlog.full = "100001 events wait to be published"

    refused, read = await client.delete(f"/jars/{JAR}"), await client.get(f"/jars/{JAR}")

    assert problem(refused) == (503, "try-again")
    assert refused.json()["detail"] == "Too much is not done yet: 100001 events wait to be published."
    assert read.status_code == 404  # it was looked for

    harness.runtime.backlog.full = None
    assert (await client.delete(f"/jars/{JAR}")).status_code == 204


async def test_a_command_does_not_wait_for_a_key_that_is_tried_again_by_itself(
    harness: ServiceHarness, client: httpx.AsyncClient
) -> None:
    async with harness.tx() as tx:
        tx.put(
            PARKED_KEYS,
            ParkedKey("p", "goals/0", "goals", JAR, "m", "goal.ended.v1", "NotYet", harness.now, harness.now),
        )

    assert (await client.delete(f"/jars/{JAR}")).status_code == 204


# -- what an endpoint may ask for --------------------------------------------------------------------------------------


def test_an_endpoint_that_cannot_be_run_again_is_refused_when_it_is_declared() -> None:
    fresh = TxRouter()

    def not_async() -> None: ...
    async def two_bodies(one: NewJar, two: Beans) -> None: ...
    async def nobody(caller: CallerDep) -> None: ...

    for declare in (
        lambda: fresh.post("/a")(not_async),
        lambda: fresh.post("/b")(two_bodies),
        lambda: fresh.post("/c", public=True)(nobody),
    ):
        with pytest.raises(TypeError):
            declare()


def test_a_part_of_a_service_is_included_whole() -> None:
    whole, part = TxRouter(), TxRouter(tags=["part"])
    part.get("/part")(elsewhere)

    whole.include_router(part)

    assert [route.path for route in whole.routes] == ["/part"]  # type: ignore[attr-defined] # every route of ours has one
    with pytest.raises(TypeError):
        whole.include_router(part, prefix="/x")
    assert json.dumps(part.tags) == '["part"]'


async def test_what_was_parsed_before_is_answered_alike_and_what_was_refused_is_refused_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "PARSED_MAX", 1)
    one, other = ids.new_id(), ids.new_id()
    for jar_id in (one, other):
        assert (await client.post("/jars", json={"id": jar_id, "label": jar_id})).status_code == 201

    for _ in range(2):
        for jar_id in (one, one, other):
            assert (await client.get(f"/jars/{jar_id}")).json()["id"] == jar_id
        assert (await client.get(f"/jars/{one}?more=1")).status_code == 422
        assert (await client.get("/jars/none")).status_code == 422


async def test_what_a_process_keeps_is_there_for_all_of_its_transactions_and_for_no_other_process(
    harness: ServiceHarness,
) -> None:
    runtime = harness.runtime
    other = replace(runtime, of_process={})

    kept = [each.begin(harness.cause()).of_process(Gate) for each in (runtime, runtime, other)]

    assert kept[0] is kept[1]
    assert kept[0] is not kept[2]
