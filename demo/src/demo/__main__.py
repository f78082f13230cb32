"""`make demo`: the stack with short times, the proof of each part, the stories, the proof of the ledger."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo import compose
from demo.parts import proofs
from demo.recorder import Recorder
from demo.run import Played, play
from demo.settings import SETTINGS
from demo.stories import STORIES
from demo.story import Story
from demo.world import World, open_world
from devstack.timeline import HEAD

DEVSTACK = (sys.executable, "-m", "devstack")

# What runs, what it says, how it ends: as processes, and in containers.
PROCESSES = (".venv/bin/devstack status", ".venv/bin/devstack logs -f goals-worker", "make down")
CONTAINERS = ("docker compose ps", "docker compose logs -f goals-worker", "docker compose down --volumes")


def main() -> int:
    """Play all stories and tell them. The exit status is 0 if everything was as expected."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # what is piped into a file is a story, too
    heading("The stack")
    print(f"  with short times: {' '.join(f'{name}={value}' for name, value in SETTINGS.items())}")
    in_containers = os.environ.get("STACK") == "compose"
    status = compose.start() if in_containers else start()
    if status is None:
        return 1
    return asyncio.run(play_all(status, in_containers=in_containers))


def start() -> Mapping[str, Any] | None:
    """Start the stack with the demo's times, or find it running with them; devstack says itself why it cannot."""
    if subprocess.run((*DEVSTACK, "up"), env={**os.environ, **SETTINGS}, check=False).returncode:
        return None
    shown = subprocess.run((*DEVSTACK, "status", "--json"), stdout=subprocess.PIPE, check=True, text=True)
    status: Mapping[str, Any] = json.loads(shown.stdout)
    if status["clock_ahead_seconds"]:
        print("  The clock of this stack was moved ahead (`devstack clock`): `make down` first, the demo has its own.")
        return None
    return status


async def play_all(status: Mapping[str, Any], *, in_containers: bool) -> int:
    """Prove the parts, play the stories, prove the ledger, and say where to look."""
    record, recorder = os.environ.get("RECORD"), Recorder()
    async with open_world(status, {**os.environ, **SETTINGS}) as world:
        if record:
            world.http.event_hooks = {"response": [recorder.hear]}
        failures = await prove_parts(world)
        if failures == 0:
            failures += await play_stories(world, playable(in_containers=in_containers))
        failures += await prove_ledger(world)
    if record:
        recorder.write(Path(record))
    where_to_look(status, in_containers=in_containers)
    if failures:
        print(f"\n✗ {failures} things were not as expected: look for ✗ above.")
    else:
        print("\n✓ Everything was as expected.")
    if not in_containers:
        print(f"\n  Now play it yourself, a streamer in one tab and a viewer in another: {status['gateway']}/stage/")
    return 1 if failures else 0


def playable(*, in_containers: bool) -> Sequence[Story]:
    """The stories that can be played; says which cannot."""
    left_out = [story for story in STORIES if in_containers and story.pays]
    for story in left_out:
        print(f"\n  left out: {story.title}; no payment gateway runs in a container")
    return [story for story in STORIES if story not in left_out]


async def prove_parts(world: World) -> int:
    """The number of parts that do not do what they are for."""
    heading("The proof of each part")
    failures = 0
    async for part in proofs(world):
        failures += not part.works
        print(f"  {'✓' if part.works else '✗'} {part.name:16} {part.shown}")
    return failures


async def play_stories(world: World, stories: Sequence[Story]) -> int:
    """The number of stories that came out differently, and of messages that no service could handle."""
    heading("The stories")
    print(f"  {len(stories)} at once, each with a streamer and viewers of its own; this takes a minute …")
    began = time.monotonic()
    played = await play(world, stories)
    for number, one in enumerate(played, start=1):
        print_story(number, one)
    print(f"\n  played in {time.monotonic() - began:.1f} s")
    for line in world.tap.parked:
        print(f"  ✗ a service parked a message: {line}")
    return sum(one.failure is not None for one in played) + len(world.tap.parked)


def print_story(number: int, played: Played) -> None:
    """Its timeline, and whether it came out as it must."""
    heading(f"{number}. {played.story.title}")
    print(f"  {played.story.play.__doc__}")
    print(HEAD)
    for line in played.scene.timeline():
        print(line)
    if played.failure:
        print("\n".join(f"  ✗ {line}" for line in played.failure.splitlines()))
        return
    events = sum(len(seen) for seen in played.scene.events().values()) + len(played.scene.purchases())
    pushes = sum(len(played.scene.pushes_to(person)) for person in played.scene.clients)
    print(f"  ✓ {events} events and {pushes} pushes, each once, in order; wallets and escrows as they must be")


async def prove_ledger(world: World) -> int:
    """Every account, and whether all of them together are zero; 1 if they are not."""
    heading("The proof: every account, sum zero")
    proof = await world.proof()
    others = []
    for account, balance in sorted((world.plain(account), balance) for account, balance in proof.accounts.items()):
        if account in proof.accounts and not account.startswith("system:"):
            others.append(balance)
        else:
            print(f"  {account:56} {balance:>8}")
    if others:
        print(f"  {f'{len(others)} accounts of earlier runs':56} {sum(others):>8}")
    total = sum(proof.accounts.values())
    good = proof.holds and total == proof.sum_diamonds == 0
    mark, says = "✓" if good else "✗", f"the service says {proof.sum_diamonds}, holds: {proof.holds}"
    print(f"  {mark} {len(proof.accounts)} accounts, their sum is {total}; {says}")
    return 0 if good else 1


def where_to_look(status: Mapping[str, Any], *, in_containers: bool) -> None:
    """The stack stays up: how to go on, and how to stop it."""
    heading("The stack is still running")
    ops = f"$(.venv/bin/devstack token --user {'0' * 24} --scope OPS)"
    runs, says, stops = PROCESSES if not in_containers else CONTAINERS
    print(f"""\
  what runs and where      {runs}
  what the parts say       {says}
  the streams on air       curl -H "Authorization: Bearer {ops}" "{status["gateway"]}/sessions?active=true"
  the ledger's proof       curl -H "Authorization: Bearer {ops}" "{status["gateway"]}/ledger/proof"
  the README goes on from here
  stop it                  {stops}""")


def heading(text: str) -> None:
    """A line that parts what follows from what was before."""
    print(f"\n── {text} {'─' * (116 - len(text))}")


if __name__ == "__main__":
    sys.exit(main())
