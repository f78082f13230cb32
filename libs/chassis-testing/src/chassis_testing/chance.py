"""Chance for a `ServiceSystem`: who hears what next, and what breaks. For state machines, which own the generator."""

import random  # noqa: TID251 - its type: the machine owns the generator
from collections.abc import Sequence

from chassis_testing.system import ServiceSystem, Waiting


async def trouble(system: ServiceSystem, what: str, service: str, chance: random.Random) -> None:
    """Something that happens to processes: a `crash`, `repeat`, `replay`, `stop`, `go on` (of all); else nothing."""
    match what:
        case "crash":
            if waiting := system.waiting():
                await system.crash(*some_of(waiting, chance))
        case "repeat":
            await system.repeat(service, chance.randint(1, 3))
        case "replay":
            system.replay(service)
        case "stop":
            system.stop(service)
        case "go on":
            system.resume(*system.services)
        case _:
            return


async def hear(system: ServiceSystem, how: str, chance: random.Random) -> None:
    """Let `all`, `some`, `one` or nobody hear of what was said."""
    if how == "all":
        await system.run_until_idle()
    for _ in range({"one": 1, "some": 8}.get(how, 0)):
        if waiting := system.waiting():
            await system.deliver(*some_of(waiting, chance))


def some_of(waiting: Sequence[Waiting], chance: random.Random) -> list[Waiting]:
    """One service's next messages: of some of its lanes, in some order, some of each."""
    service = chance.choice(sorted({part.service for part in waiting}))
    lanes = sorted((part for part in waiting if part.service == service), key=lambda part: part.ordering_key)
    chosen = chance.sample(lanes, chance.randint(1, len(lanes)))
    return [part.only(chance.randint(1, part.count)) for part in chosen]
