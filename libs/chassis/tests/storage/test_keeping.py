"""Two releases on one document: an old class leaves what it does not know, also in the parts of a document."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fastapi import APIRouter
from pydantic import BaseModel

from chassis.service import Service
from chassis.storage.collection import Collection
from chassis.storage.keeping import keep_unknown
from chassis.storage.tx import Tx
from chassis_testing.service import ServiceHarness

HarnessOf = Callable[..., Awaitable[ServiceHarness]]


@dataclass(frozen=True, slots=True)
class Lid:
    name: str
    tight: bool = True


class Label(BaseModel):
    text: str


@dataclass(frozen=True)
class Jar:
    """As this release knows it; the next one adds a field to each of the classes."""

    id: str
    beans: int = 0
    label: Label | None = None
    lids: tuple[Lid, ...] = ()
    by_shelf: Mapping[str, Lid] = field(default_factory=dict)


@dataclass(frozen=True)
class Bowl:
    id: str
    beans: int = 0


JARS, BOWLS = Collection("jars", Jar), Collection("bowls", Bowl)
SERVICE = Service(name="goals", router=APIRouter(), collections=(JARS, BOWLS))
NEWER: dict[str, Any] = {
    "_id": "jar",
    "beans": 1,
    "label": {"text": "peas", "font": "serif"},
    "lids": [{"name": "red", "tight": True, "colour": 1}, {"name": "blue", "tight": True, "colour": 2}],
    "by_shelf": {"top": {"name": "t", "tight": True, "colour": 3}, "low": {"name": "l", "tight": True, "colour": 4}},
    "weight": 7,
    "_stamp": 5,
}


async def load_and_save(tx: Tx) -> None:
    bowl = await tx.get(BOWLS, "bowl")
    assert bowl is not None
    tx.put(BOWLS, replace(bowl, beans=2))


async def find_and_save(tx: Tx) -> None:
    [bowl] = await tx.find(BOWLS, {"beans": 1})
    tx.put(BOWLS, replace(bowl, beans=2))


async def save_unseen(tx: Tx) -> None:
    tx.put(BOWLS, Bowl("bowl", 2))


async def save_unseen_then_query(tx: Tx) -> None:
    tx.put(BOWLS, Bowl("bowl", 2))
    assert len(await tx.find(BOWLS, {"beans": 2})) == 1


async def save_twice_with_a_query_between(tx: Tx) -> None:
    await load_and_save(tx)
    [bowl] = await tx.find(BOWLS, {"beans": 2})
    tx.put(BOWLS, replace(bowl, beans=1))
    tx.put(BOWLS, replace(bowl, beans=2))


async def save_what_is_assumed(tx: Tx) -> None:
    tx.assume_unchanged(BOWLS, Bowl("bowl", 1), 5)
    tx.put(BOWLS, Bowl("bowl", 2))


async def delete_take_back_and_save(tx: Tx) -> None:
    before = tx.savepoint()
    tx.delete(BOWLS, "bowl")
    tx.rollback(before)
    await load_and_save(tx)


WAYS = (
    *(load_and_save, find_and_save, save_unseen, save_unseen_then_query, save_twice_with_a_query_between),
    *(save_what_is_assumed, delete_take_back_and_save),
)


@pytest.mark.parametrize("way", WAYS)
async def test_an_old_class_leaves_what_it_does_not_know(
    harness_of: HarnessOf, way: Callable[[Tx], Awaitable[None]]
) -> None:
    harness = await harness_of(SERVICE)
    await harness.runtime.database["bowls"].insert_one({"_id": "bowl", "beans": 1, "weight": 7, "_stamp": 5})

    async with harness.tx() as tx:
        await way(tx)

    stored = await harness.runtime.database["bowls"].find_one({}, {"_stamp": 0})
    assert stored == {"_id": "bowl", "beans": 2, "weight": 7}


async def test_what_is_deleted_and_made_anew_has_nothing_of_what_was_there(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE)
    for seen in (True, False):
        await harness.runtime.database["bowls"].insert_one({"_id": "bowl", "beans": 1, "weight": 7, "_stamp": 5})
        async with harness.tx() as tx:
            if seen:
                await tx.get(BOWLS, "bowl")
            tx.delete(BOWLS, "bowl")
            tx.put(BOWLS, Bowl("bowl", 2))
        stored = await harness.runtime.database["bowls"].find_one_and_delete({}, {"_stamp": 0})
        assert stored == {"_id": "bowl", "beans": 2}


async def stored_after(harness: ServiceHarness, change: Callable[[Jar], Jar]) -> dict[str, Any]:
    """What there is once an old release has changed the newer one's jar, in two steps."""
    await harness.runtime.database["jars"].replace_one({"_id": "jar"}, NEWER, upsert=True)
    async with harness.tx() as tx:
        jar = await tx.get(JARS, "jar")
        assert jar is not None
        tx.put(JARS, replace(jar, beans=0))
        await tx.flush(JARS)
        tx.put(JARS, change(jar))
    stored = await harness.runtime.database["jars"].find_one({}, {"_stamp": 0})
    assert stored is not None
    return stored


async def test_the_parts_of_a_document_keep_what_an_old_class_does_not_know(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE)
    expected = {name: value for name, value in NEWER.items() if name != "_stamp"}

    assert await stored_after(harness, lambda jar: replace(jar, beans=2)) == expected | {"beans": 2}

    relabelled = await stored_after(harness, lambda jar: replace(jar, label=Label(text="beans")))
    assert relabelled["label"] == {"text": "beans", "font": "serif"}
    assert (await stored_after(harness, lambda jar: replace(jar, label=None)))["label"] is None

    moved = await stored_after(
        harness, lambda jar: replace(jar, by_shelf={"low": Lid("l", tight=False), "new": Lid("n")})
    )
    assert moved["by_shelf"] == {"low": {"name": "l", "tight": False, "colour": 4}, "new": {"name": "n", "tight": True}}


async def test_a_part_in_a_list_is_known_by_what_it_is_or_by_its_first_field(harness_of: HarnessOf) -> None:
    harness = await harness_of(SERVICE)
    red, blue = NEWER["lids"]

    async def lids(*after: Lid) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await stored_after(harness, lambda jar: replace(jar, lids=after)))["lids"]
        return found

    assert await lids(Lid("blue"), Lid("red")) == [blue, red]
    assert await lids(Lid("green"), Lid("blue", tight=False)) == [
        {"name": "green", "tight": True},
        {"name": "blue", "tight": False, "colour": 2},
    ]
    assert await lids() == []


def test_of_two_parts_of_one_name_neither_is_taken_for_the_other() -> None:
    stored = [{"name": "a", "tight": 1, "colour": 1}, {"name": "a", "tight": 2, "colour": 2}]
    known = [{"name": "a", "tight": 1}, {"name": "a", "tight": 2}]

    assert keep_unknown([{"name": "a", "tight": 3}], stored, known) == [{"name": "a", "tight": 3}]
    assert keep_unknown([{"name": "a", "tight": 2}], stored, known) == [stored[1]]


def test_only_documents_with_parts_are_looked_through() -> None:
    assert JARS.has_parts
    assert not BOWLS.has_parts
