"""Every process of every service is replaced, one after another, while stories play: nobody loses anything.

With `ROLL_FROM` in the environment, a commit, they first step back to its code one by one, and then forward again: its
releases are mixed with this one on one database and one log. The virtual environment stays this one's.
"""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from demo.deeds import gives
from demo.scene import Scene
from demo.stories.invitations import refused
from demo.stories.shows import funded
from demo.story import PURSE
from demo.waiting import until
from demo.world import World
from devstack import services
from devstack.settings import SERVICES, package
from devstack.stack import Stack
from devstack.tokens import KEYS_FILE

Verdict = Callable[[Scene], Awaitable[list[str]]]
OnAir = Callable[..., Awaitable[Scene]]

ROSE, ROSE_DIAMONDS = "livestream-gift_rose", 10
DIAMONDS = 10_000  # for more roses than can be given meanwhile
ROSE_SENT = "gift.sent 1 gift_rose"
ANSWERED = frozenset({200, 202, 409, 429})
AWAY = frozenset({502, 503})  # the gateway says so of a process that is not there, a process of itself when it ends
ASK_SECONDS = 0.05  # between two questions
CHECKOUT = Path(__file__).parents[2]


async def roll(stack: Stack, env: Mapping[str, str] | None = None) -> None:
    """Replace each process by one with this environment beside its own, and wait until it is ready."""
    for part in services.services(stack.settings):
        await asyncio.to_thread(stack.restart_part, part.name, env)


async def migrate(stack: Stack, env: Mapping[str, str]) -> None:
    """Let each service make what its code in this environment needs: an index that it had is made by nobody else."""
    for name in SERVICES:
        line, environ = (sys.executable, "-m", package(name), "migrate"), stack.environment_of(name)
        process = await asyncio.create_subprocess_exec(*line, env={**os.environ, **environ, **env})
        assert await process.wait() == 0, name


def code_of(commit: str, folder: Path, data: Path) -> dict[str, str]:
    """The environment in which a process of the stack at `data` runs the code of that commit.

    Some knew no file of keys yet, and wanted the keys themselves; where both are given, the file counts.
    """
    archive = subprocess.run(["git", "archive", commit], cwd=CHECKOUT, capture_output=True, check=True, timeout=60)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True, timeout=60)
    sources = os.pathsep.join(sorted(str(source) for source in folder.glob("*/*/src")))
    return {"PYTHONPATH": sources, "JWT_KEYS": (data / KEYS_FILE).read_text()}


def roses_seen(scene: Scene) -> int:
    """How many the streamer's client was told of, however often of each."""
    return len({push.seq for push in scene.pushes_to(scene.streamer) if push.brief == ROSE_SENT})


async def keeps_giving(scene: Scene, over: asyncio.Event) -> list[str]:
    """A rose, and the next one when the streamer has seen it; their ids."""
    roses: list[str] = []

    async def seen() -> int:
        return roses_seen(scene)

    while not over.is_set():
        roses.append(await gives(scene, scene.viewer, ROSE))
        await until("the streamer to see the rose", seen, lambda count: count >= len(roses))
    return roses


async def keeps_asking(world: World, scene: Scene, over: asyncio.Event) -> Counter[int]:
    """Everything that can be read, without patience: how often it was answered how."""
    said: Counter[int] = Counter()
    while not over.is_set():
        for path in (
            f"/sessions/{scene.session_id}",
            "/wallets/me",
            "/notifications",
            f"/goals?session_id={scene.session_id}",
        ):
            answer = await world.request(scene.viewer, "GET", path)
            said[answer.status_code] += 1
            await asyncio.sleep(ASK_SECONDS)
    return said


async def keep_of(world: World, scene: Scene, roses: list[str]) -> tuple[Counter[str], int, int]:
    """What became of each, how many were shown, and what is left of the diamonds."""
    statuses = Counter([(await world.get(scene.viewer, f"/gifts/{rose}"))["status"] for rose in roses])
    return statuses, roses_seen(scene), (await world.get(scene.viewer, "/wallets/me"))["balance_diamonds"]


async def test_all_processes_are_replaced_while_stories_play_and_nothing_is_lost_or_doubled(
    stack: Stack, world: World, on_air: OnAir, verdict: Verdict, tmp_path: Path
) -> None:
    before = {part.name: stack.process(part.name).pid for part in services.services(stack.settings)}
    lonely, show, generous = await asyncio.gather(
        on_air("Nora", "Yann"), on_air("Olga", "Zeno", "Abel", PURSE), on_air("Pia", "Ben", None, DIAMONDS)
    )
    over = asyncio.Event()

    async def rolls() -> None:
        try:
            if commit := os.environ.get("ROLL_FROM"):
                earlier = code_of(commit, tmp_path, stack.data)
                await migrate(stack, earlier)
                await roll(stack, earlier)
            await roll(stack)
        finally:
            over.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(rolls())
        group.create_task(refused(lonely))
        group.create_task(funded(show))
        giving = group.create_task(keeps_giving(generous, over))
        asking = group.create_task(keeps_asking(world, generous, over))

    roses = giving.result()
    kept = {"sent": len(roses)}, len(roses), DIAMONDS - ROSE_DIAMONDS * len(roses)
    assert await keep_of(world, generous, roses) == kept
    assert all(stack.process(name).pid != pid for name, pid in before.items())
    assert asking.result().keys() <= ANSWERED | AWAY
    assert [line for scene in (lonely, show) for line in await verdict(scene)] == []
