"""Who may not be in a room is put out of it: at the vendor's sandbox, which tells who comes and goes."""

import secrets
from collections.abc import AsyncIterator

import httpx
import pytest

from demo.scene import Scene
from demo.story import DIAMONDS
from demo.waiting import until
from demo.world import Person, World
from devstack.stack import Stack


class Room:
    """One room at the vendor's."""

    def __init__(self, vendor: httpx.AsyncClient) -> None:
        self.id = f"studio-{secrets.token_hex(8)}"
        self._vendor = vendor

    async def enters(self, *people: Person) -> list[int]:
        """As a client with a token does, whether or not it should: 403 for who is kept out."""
        asked = [{"room_id": self.id, "user_id": person.id} for person in people]
        return [(await self._vendor.post("/sandbox/join", json=one)).status_code for one in asked]

    async def holds(self, what: str, *people: Person) -> None:
        """Wait until these people are there, and nobody else."""

        async def there() -> set[str]:
            rooms = (await self._vendor.get("/sandbox")).json()["rooms"]
            return set(rooms.get(self.id, ()))

        await until(what, there, lambda seen: seen == {person.id for person in people})


@pytest.fixture
async def room(stack: Stack) -> AsyncIterator[Room]:
    async with httpx.AsyncClient(base_url=stack.url("byteplus"), trust_env=False) as vendor:
        await vendor.put("/sandbox/behaviour", json={"mode": "well"})
        yield Room(vendor)


async def test_who_may_not_be_in_a_room_is_put_out_of_it(world: World, room: Room) -> None:
    friend, late = world.person("Olga"), world.person("Paul")
    scene = Scene(world, world.person("Mia", "CREATOR"), world.person("Nick"), friend)
    await scene.opens(DIAMONDS)
    await scene.goes_on_air()
    source = f"/sessions/{scene.session_id}/sources/{room.id}"
    await scene.does(scene.streamer, "PUT", source, {"preset": "sd"}, 204)
    assert await room.enters(scene.streamer, scene.viewer, friend) == [204] * 3
    await room.holds("all to be there", scene.streamer, scene.viewer, friend)

    await scene.agrees(await scene.invites_and_is_seen())  # the session turns exclusive
    await room.holds("the friend to be put out", scene.streamer, scene.viewer)
    assert await room.enters(late) == [204]  # who had a token from before
    await room.holds("who comes late to be put out", scene.streamer, scene.viewer)
    assert await room.enters(friend, late) == [403] * 2


async def test_who_has_nothing_left_and_everybody_at_the_end_are_put_out(world: World, room: Room) -> None:
    scene = Scene(world, world.person("Rosa", "CREATOR"), world.person("Stan"))
    await scene.opens(DIAMONDS)
    await scene.goes_on_air()
    source = f"/sessions/{scene.session_id}/sources/{room.id}"
    await scene.does(scene.streamer, "PUT", source, {"preset": "sd"}, 204)
    assert await room.enters(scene.streamer, scene.viewer) == [204] * 2
    invitation = await scene.invites_and_is_seen()
    await scene.agrees(invitation)
    exclusive = await scene.starts_exclusive(invitation)
    await room.holds("both to be alone", scene.streamer, scene.viewer)

    await scene.does(scene.streamer, "DELETE", f"/goals/{exclusive}", None, 204)  # too soon: all is paid back
    await room.holds("the viewer, whose time was taken back, to be put out", scene.streamer)
    await scene.ends_session()
    await room.holds("the streamer to be put out, as the session is over")
