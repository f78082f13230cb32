"""All stories through the gateway, Kafka, the ledger and pusher-js; and some with a part that is away."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import psutil
import pytest

from demo.deeds import TICKET, TICKET_SENT, gives, sells_tickets
from demo.expected import Expected
from demo.parts import proofs
from demo.run import Played, play
from demo.scene import EXCLUSIVE_PRICE, Scene
from demo.settings import INVITATION_REFUND_SECONDS, SETTINGS
from demo.stories import STORIES
from demo.stories.fundings import off_air_without_show
from demo.stories.invitations import GOALS_INVITED, STREAM_INVITED
from demo.story import DIAMONDS, PURSE
from demo.waiting import WAIT_SECONDS, until
from demo.world import World, open_world
from devstack import services
from devstack.settings import BASE_VARIABLES
from devstack.stack import Stack

WORKERS = ("sessions-worker", "escrow-worker", "notifier-worker")


@pytest.fixture(scope="module")
async def played(world: World) -> Mapping[str, Played]:
    """All stories, played at once: most of a run is waiting."""
    return {one.story.title: one for one in await play(world, STORIES)}


async def test_each_part_of_the_stack_does_what_it_is_for(world: World) -> None:
    assert [part async for part in proofs(world) if not part.works] == []


async def test_a_proxy_of_the_environment_stands_between_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async with open_world(world.status, SETTINGS) as another:
        assert (await another.proof()).sum_diamonds == 0


@pytest.mark.parametrize("title", [story.title for story in STORIES])
async def test_the_story_comes_out_as_it_must(played: Mapping[str, Played], title: str) -> None:
    failure = played[title].failure

    assert failure is None, "\n".join([failure or "", *played[title].scene.timeline()])


async def test_a_client_that_was_away_catches_up_on_its_own_channel(played: Mapping[str, Played], world: World) -> None:
    scene = played["Agreed and performed, extended and paid on"].scene
    pushed = [p.brief for p in scene.pushes_to(scene.viewer) if p.channel == f"private-user@{scene.viewer.id}"]

    kept = await world.get(scene.viewer, "/notifications")

    assert [item["name"] for item in kept["items"]] == [brief.split()[0] for brief in pushed]


@pytest.fixture
def away(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    """A worker to be stopped, and started again whatever happens."""
    worker: str = request.param
    yield worker
    if stack.state().part(worker).state == "stopped":
        stack.start_part(worker)


async def opened(world: World, diamonds: int = DIAMONDS) -> Scene:
    scene = Scene(world, world.person("Hope", "CREATOR"), world.person("Tom"))
    await scene.opens(diamonds)
    await scene.goes_on_air()
    return scene


async def pair_is_closed(scene: Scene) -> None:
    """Sessions has done its part: the invitation's pair is ended."""

    async def look() -> Any:
        session = await scene.world.get(scene.viewer, f"/sessions/{scene.session_id}")
        return session["exclusive_goal_pairs"].get(scene.viewer.id, {})

    await until("the pair to be closed", look, lambda pair: bool(pair.get("trigger_exclusive_goal_ended")))


async def money_is_back(scene: Scene) -> None:
    """Escrow has done its part."""
    await until(
        "the refund",
        lambda: scene.world.get(scene.viewer, "/wallets/me"),
        lambda wallet: wallet["balance_diamonds"] == DIAMONDS,
    )


async def clients_are_told(scene: Scene, outcome: str) -> None:
    """The notifier has done its part."""
    for person in scene.clients:
        await scene.sees(person, f"goal.ended invitation {outcome}")


DEEDS_AT_REFUSAL: Mapping[str, Callable[[Scene], Awaitable[None]]] = {
    "sessions-worker": pair_is_closed,
    "escrow-worker": money_is_back,
    "notifier-worker": lambda scene: clients_are_told(scene, "refused"),
}


@pytest.mark.parametrize("away", WORKERS, indirect=True)
async def test_a_refusal_reaches_everyone_who_is_there_and_the_one_who_was_away_afterwards(
    world: World, stack: Stack, away: str
) -> None:
    scene = await opened(world)
    invitation = await scene.invites_and_is_seen()

    stack.stop_part(away)
    await scene.refuses(invitation)
    for worker in WORKERS:
        if worker != away:
            await DEEDS_AT_REFUSAL[worker](scene)
    stack.start_part(away)
    await DEEDS_AT_REFUSAL[away](scene)

    await scene.comes_out(
        Expected(
            goals=(*GOALS_INVITED, "goal.ended invitation refused"),
            sessions=("session.started", "session.goal_added invitation"),
            escrow=("escrow.held", "escrow.failed refused", "escrow.settled released 0 refunded 1"),
            stream=(*STREAM_INVITED, "goal.ended invitation refused"),
            viewer=("escrow.failed refused",),
            wallet=DIAMONDS,
            escrows=("refund",),
        )
    )


@pytest.mark.parametrize("away", WORKERS, indirect=True)
async def test_an_agreement_that_comes_to_nothing_is_refunded_whoever_was_away(
    world: World, stack: Stack, away: str
) -> None:
    scene = await opened(world)
    invitation = await scene.invites_and_is_seen()

    stack.stop_part(away)
    await scene.does(scene.streamer, "DELETE", f"/goals/{invitation}", {"agree": True}, 204)
    await scene.sees_on_kafka("goal.lapsed invitation no_exclusive")
    if away != "sessions-worker":
        await pair_is_closed(scene)
    if away != "notifier-worker":
        await clients_are_told(scene, "agreed")
    if away != "escrow-worker":
        await scene.sees_on_kafka("escrow.failed no_exclusive", WAIT_SECONDS + INVITATION_REFUND_SECONDS)
    wallet = await world.get(scene.viewer, "/wallets/me")
    assert wallet["balance_diamonds"] == (DIAMONDS - EXCLUSIVE_PRICE if away == "escrow-worker" else DIAMONDS)
    stack.start_part(away)

    await pair_is_closed(scene)
    await clients_are_told(scene, "agreed")
    await money_is_back(scene)
    await scene.is_open_to_everyone()
    await scene.sees(scene.viewer, "escrow.failed no_exclusive")


@pytest.mark.parametrize("away", [*WORKERS, "goals-worker", "shop-worker"], indirect=True)
async def test_a_ticket_is_sold_and_refunded_whoever_was_away_at_the_sale(
    world: World, stack: Stack, away: str
) -> None:
    scene = await opened(world, PURSE)
    funding = await sells_tickets(scene, target=1)

    stack.stop_part(away)
    await gives(scene, scene.viewer, TICKET, funding)
    stack.start_part(away)
    await scene.sees(scene.viewer, TICKET_SENT)
    await scene.sees_on_kafka("session.viewer_authorized ticket")
    await scene.ends_session()

    await scene.comes_out(off_air_without_show())


async def test_the_run_sums_to_zero_and_nothing_was_parked(played: Mapping[str, Played], world: World) -> None:
    assert played

    proof = await world.proof()

    assert (proof.holds, proof.sum_diamonds, sum(proof.accounts.values())) == (True, 0, 0)
    assert not [balance for account, balance in proof.accounts.items() if account.startswith("escrow:") and balance]
    assert world.tap.parked == []


async def test_each_process_has_what_it_reads_in_its_environment_and_nothing_else(stack: Stack) -> None:
    """As it runs; what that is stands in `tests/test_variables.py`."""
    for part in services.services(stack.settings):
        environ = psutil.Process(stack.process(part.name).pid).environ()

        assert environ.keys() - set(BASE_VARIABLES) == part.env.keys()
