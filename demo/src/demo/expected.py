"""What a story must have led to, exactly, and in what the world differs from it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Literal, TypeVar

from demo.listener import Pushed
from demo.tap import Carried
from demo.world import Person

if TYPE_CHECKING:
    from demo.scene import Scene

T = TypeVar("T")


PROGRESS = "goal.progress.updated"
MISSING = "missing"
NOT_OF_THE_STORY = {
    "presence.counted.v1",  # how many listen now and then
    "rtc.snapshot_overdue.v1",  # a machine is slow, or there is no vendor
}
BETWEEN_TWO = (["invitation"], ["exclusive"])  # the kinds of goals, as the second word of a brief


@dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """What one viewer hears alone, and has in the end."""

    alone: Sequence[str] = ()
    own: Sequence[str] = ()
    wallet: int
    until_cut: Sequence[str] | None = None
    """Who is cut hears this of the stream, and nothing after that; what is told while they are, they may miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Events by their topic and pushes by their channel, in few words (`devstack.brief`), and the diamonds."""

    goals: Sequence[str]
    sessions: Sequence[str]
    escrow: Sequence[str]
    shop: Sequence[str] = ()
    bought: Sequence[str] = ()
    """Of what the viewers buy for money, on whatever topic: each buyer's orders are no matter of the session."""
    rtc: Sequence[str] = ()
    """What BytePlus does, where there is one."""
    stream: Sequence[str] = ()
    """Pushed to everyone at the stream: `presence-stream@`, `private-stream@`, and the streamer's own channel; what is
    of an invitation or a 1-on-1 to its viewer's own too."""
    gifts: Sequence[str] = ()
    """Pushed to `presence-stream@` and `private-stream@` besides, as are the session's changes."""
    alone: Sequence[str] = ()
    """Pushed to the viewer of this stream: `presence-stream-viewer@….preview.…`."""
    viewer: Sequence[str] = ()
    """Pushed to the viewer's own channel."""
    streamer: Sequence[str] = ()
    """Pushed to the streamer's own channel, besides `stream`."""
    wallet: int
    """The viewer's diamonds in the end."""
    earned: int = 0
    """What the streamer has earned."""
    guest: Theirs | None = None
    """The second viewer's part."""
    escrows: Sequence[Literal["release", "refund"]] = ()
    """How the escrow of each promise was settled, in the order of the promises."""

    def parts(self, scene: "Scene") -> Iterator[tuple[Person, Theirs]]:
        """What each viewer hears alone, and has in the end."""
        theirs = [brief for brief in self.stream if brief.split()[1:2] in BETWEEN_TWO]
        yield scene.viewer, Theirs(alone=self.alone, own=(*theirs, *self.viewer), wallet=self.wallet)
        if self.guest:
            yield scene.guest, self.guest


async def differences(scene: "Scene", expected: Expected) -> list[str]:
    """A line for each thing that is not as expected; none if all is."""
    carried = [e for e in scene.world.tap.of(session_id=scene.session_id) if e.attributes.type not in NOT_OF_THE_STORY]
    lines = list(_differing_repeats(carried))
    if scene.crashes:
        carried = _first_of_each(carried, lambda event: (event.attributes.id, event.attributes.type))
    topics = {
        "goals": expected.goals,
        "sessions": expected.sessions,
        "escrow": expected.escrow,
        "shop": expected.shop,
        "rtc-control": expected.rtc if scene.world.has_byteplus else (),
    }
    lines += [line for topic, briefs in topics.items() for line in _event_differences(topic, briefs, carried)]
    purchases = [found.brief for found in scene.purchases()]
    lines += [f"events of purchases: {line}" for line in _missing_and_more(expected.bought, purchases)]
    others = [found for found in carried if found.topic not in topics]
    lines += [f"events on the topic {found.topic}: {found.brief}" for found in others]
    cut = {person for person, theirs in expected.parts(scene) if theirs.until_cut is not None}
    for person, channel, briefs in _channels(scene, expected):
        received = [push for push in scene.pushes_to(person) if push.channel == channel]
        name = f"pushes on {scene.world.plain(channel)} at {person}'s client"
        differing = _push_differences(briefs, received, crashes=scene.crashes)
        lines += [f"{name}: {line}" for line in differing if person not in cut or not line.startswith(MISSING)]
    lines += _numbering(push for person in scene.clients for push in scene.pushes_to(person))
    return [*lines, *await _ledger_differences(scene, expected)]


def _event_differences(topic: str, expected: Sequence[str], carried: Sequence[Carried]) -> Iterator[str]:
    """All of them once; in order as far as they follow from one owner's events: between owners there is none (§9)."""
    owner_of = {event.attributes.id: event.topic for event in carried}
    seen = [event for event in carried if event.topic == topic]
    yield from (f"events on the topic {topic}: {line}" for line in _missing_and_more(expected, [e.brief for e in seen]))
    chains: dict[str | None, list[str]] = {}
    for event in seen:
        owner = owner_of.get(event.attributes.causation_id or "")
        chains.setdefault(owner, []).append(event.brief)
    for owner, chain in chains.items():
        if not _is_in_order(chain, expected):
            yield f"events on the topic {topic} that follow from {owner or 'people and time'} are out of order: {chain}"


def _differing_repeats(carried: Iterable[Carried]) -> Iterator[str]:
    """An event that is repeated is the same event, in the same place."""
    first: dict[tuple[str, str], Carried] = {}
    for event in carried:
        known = first.setdefault((event.attributes.id, event.attributes.type), event)
        if (known.partition, known.event) != (event.partition, event.event):
            yield f"{event.brief} came under the id of {known.brief}: {event.attributes.id}"


def _push_differences(expected: Sequence[str], received: Sequence[Pushed], *, crashes: bool) -> Iterator[str]:
    if crashes:
        yield from (
            f"out of order: #{later.seq} {later.brief} after #{earlier.seq} {earlier.brief}"
            for earlier, later in pairwise(received)
            if later.seq < earlier.seq
        )
        received = _first_of_each(received, lambda push: (push.name, push.event_id))
    briefs = [push.brief for push in received]
    yield from _missing_and_more([brief for brief in expected if not _is_overtaken(brief, expected, briefs)], briefs)
    if any(later.seq <= earlier.seq for earlier, later in pairwise(received)):
        yield f"seq does not increase: {[(push.seq, push.brief) for push in received]}"
    repeated = Counter((push.name, push.event_id) for push in received)
    yield from (f"{name} of event {event_id} came {n} times" for (name, event_id), n in repeated.items() if n > 1)


def _is_overtaken(brief: str, expected: Sequence[str], received: Sequence[str]) -> bool:
    """Whether it is progress that was not pushed, and later progress of its goal, or the goal's end, stands for it."""
    name, _, rest = brief.partition(" ")
    if name != PROGRESS or brief in received:
        return False
    kind = rest.partition(" ")[0]
    later = expected[expected.index(brief) + 1 :]
    return any(one.startswith((f"{PROGRESS} {kind}", f"goal.ended {kind}")) and one in received for one in later)


def _numbering(pushes: Iterable[Pushed]) -> Iterator[str]:
    """One push has one number, on whatever channel."""
    numbers: dict[tuple[str, str], set[int]] = {}
    for push in pushes:
        numbers.setdefault((push.name, push.event_id), set()).add(push.seq)
    yield from (f"{name} has several numbers: {sorted(seqs)}" for (name, _), seqs in numbers.items() if len(seqs) > 1)


def _channels(scene: "Scene", expected: Expected) -> Iterator[tuple[Person, str, Sequence[str]]]:
    streamer = scene.streamer
    changes = [brief for brief in expected.sessions if brief.split()[0] in ("session.updated", "session.ended")]
    heard = {person: theirs.until_cut for person, theirs in expected.parts(scene)}
    for person, kind in product(scene.clients, ("presence-stream", "private-stream")):
        until_cut = heard.get(person)
        whole = (*expected.stream, *expected.gifts, *changes)
        yield person, f"{kind}@{streamer.id}", whole if until_cut is None else until_cut
    yield streamer, f"private-user@{streamer.id}", (*expected.stream, *expected.streamer)
    for viewer, theirs in expected.parts(scene):
        yield viewer, f"private-user@{viewer.id}", theirs.own
        yield viewer, f"presence-stream-viewer@{streamer.id}.preview.{viewer.id}", theirs.alone


async def _ledger_differences(scene: "Scene", expected: Expected) -> list[str]:
    earned = await scene.world.get(scene.streamer, "/wallets/me")
    pairs: list[tuple[str, object, object]] = [
        (f"{scene.streamer}'s earnings", expected.earned, earned["earnings_diamonds"])
    ]
    for viewer, theirs in expected.parts(scene):
        wallet = await scene.world.get(viewer, "/wallets/me")
        pairs.append((f"{viewer}'s diamonds", theirs.wallet, wallet["balance_diamonds"]))
    for escrow_id, verdict in zip(scene.escrows, expected.escrows, strict=False):
        escrow = await scene.world.get(scene.streamer, f"/escrows/{escrow_id}/proof")
        paid, held = escrow["paid_diamonds"], escrow["held_diamonds"]
        where = {"release": escrow["released_diamonds"], "refund": escrow["refunded_diamonds"]}
        settled = (escrow["verdict"], held, where[verdict] == paid > 0, escrow["holds"])
        pairs.append(
            (
                f"{scene.world.plain(escrow_id)}'s escrow (verdict, held, all of it, proof)",
                (verdict, 0, True, True),
                settled,
            )
        )
    return [f"{what}: {wanted} expected, {seen} seen" for what, wanted, seen in pairs if wanted != seen]


def _first_of_each(things: Iterable[T], id_of: Callable[[T], object]) -> list[T]:
    first: dict[object, T] = {}
    for thing in things:
        first.setdefault(id_of(thing), thing)
    return list(first.values())


def _missing_and_more(expected: Iterable[str], seen: Iterable[str]) -> Iterator[str]:
    wanted, there = Counter(expected), Counter(seen)
    yield from (f"{MISSING} {brief}" for brief in (wanted - there).elements())
    yield from (f"not expected {brief}" for brief in (there - wanted).elements())


def _is_in_order(chain: Iterable[str], expected: Iterable[str]) -> bool:
    rest = iter(expected)
    return all(any(brief == wanted for wanted in rest) for brief in chain)
