"""The proof of each part: that what the stories run on is really there, and does what it is for."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from demo.waiting import Unmet
from demo.world import World


@dataclass(frozen=True, slots=True)
class Part:
    """One part, and what it has shown."""

    name: str
    shown: str
    works: bool


async def proofs(world: World) -> AsyncIterator[Part]:
    """Each part of the stack, one after the other."""
    checks: Mapping[str, Callable[[World], Awaitable[str]]] = {
        "mongod": _mongod,
        "kafka": _kafka,
        "soketi": _soketi,
        "gateway": _gateway,
    }
    for name, check in checks.items():
        yield await _proof(name, check(world))
    for process in world.status["processes"]:
        if process["name"].endswith(("-api", "-worker")):
            yield await _proof(process["name"], _service(world, process))


async def _proof(name: str, check: Awaitable[str]) -> Part:
    try:
        return Part(name, await check, works=True)
    except (Unmet, PyMongoError, httpx.HTTPError) as error:
        return Part(name, str(error) or repr(error), works=False)


async def _mongod(world: World) -> str:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(world.status["mongo_url"])
    try:
        hello = await client.admin.command("hello")
        version = (await client.server_info())["version"]
    finally:
        await client.close()
    if not hello["isWritablePrimary"]:
        raise Unmet(f"it is not the primary of its replica set: {hello}")
    return f"MongoDB {version}, primary of the replica set {hello['setName']}"


async def _kafka(world: World) -> str:
    topics = world.tap.topics
    if not {"goals", "sessions", "escrow", "shop"} <= topics.keys():
        raise Unmet(f"topics are missing, there are only {', '.join(topics)}")
    return ", ".join(f"{topic} ({partitions})" for topic, partitions in topics.items() if not topic.endswith(".dlq"))


async def _soketi(world: World) -> str:
    listener = await world.listen(world.person("passer-by"))
    return f"a pusher-js client is {listener.received[0]['heard']}"


async def _gateway(world: World) -> str:
    answer = await world.http.get("/nothing-here")
    kind = answer.headers["content-type"]
    if (answer.status_code, kind) != (httpx.codes.NOT_FOUND, "application/problem+json"):
        raise Unmet(f"GET /nothing-here answers {answer.status_code} {kind}, not a problem+json 404")
    return f"GET /nothing-here → {answer.status_code} {kind} {answer.json()['type']}"


async def _service(world: World, process: Mapping[str, Any]) -> str:
    if process["state"] != "ready":
        raise Unmet(f"it is {process['state']}: `devstack logs {process['name']}`")
    answer = await world.http.get(f"http://{process['listens'][0]}/readyz")
    if answer.is_error:
        raise Unmet(f"/readyz answers {answer.status_code}: {answer.text}")
    return f"ready on {process['listens'][0]}, pid {process['pid']}"
