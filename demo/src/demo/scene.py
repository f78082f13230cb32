"""One streamer, a viewer or two, one session: what they do in a story, and what becomes visible of it from outside."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any, Final, Literal

from contracts import OrderCreatedV1, OrderFulfilledV1, OrderPaidV1, PassActivatedV1, PassGrantedV1, WalletCreditedV1
from demo.expected import Expected, differences
from demo.listener import Listener, Pushed
from demo.settings import STEP_SECONDS
from demo.tap import Carried
from demo.waiting import WAIT_SECONDS, Unmet, until
from demo.world import Person, World
from devstack import timeline
from devstack.timeline import Line

EXCLUSIVE_PRICE: Final = 30  # diamonds per step
SD_PRICE: Final = 10
SHOWN_MAX: Final = 90  # characters of a page
PURCHASES: Final = (OrderCreatedV1, OrderPaidV1, OrderFulfilledV1, PassGrantedV1, PassActivatedV1, WalletCreditedV1)


@dataclass(slots=True)
class Scene:
    """A story's stage: it `opens`, people act, and `comes_out` says what all of it must have led to."""

    world: World
    streamer: Person
    viewer: Person
    friend: Person | None = None
    """A second viewer, where the story needs one."""
    crashes: bool = False
    """Whether processes are killed meanwhile: then what they were doing may be seen twice, under the same numbers."""
    session_id: str = ""
    escrows: list[str] = field(default_factory=list)
    """The escrow ids of what was promised, in order."""
    clients: dict[Person, Listener] = field(default_factory=dict)
    gone: set[Person] = field(default_factory=set)
    """Whose clients hear the stream no more."""
    expected: Expected | None = None
    _lines: list[Line] = field(default_factory=list)

    @property
    def viewers(self) -> Sequence[Person]:
        """Who pays."""
        return (self.viewer, self.friend) if self.friend else (self.viewer,)

    @property
    def guest(self) -> Person:
        """The second viewer, in a story that has one."""
        if self.friend is None:
            raise AssertionError("this story has one viewer")
        return self.friend

    def names(self, thing_id: str, name: str) -> None:
        """Have an id printed as a name that nothing else has."""
        same = sum(known.split("-again")[0] == name for known in self.world.names.values())
        self.world.names[thing_id] = name + "-again" * same

    # -- what people do ------------------------------------------------------------------------------------------------

    async def opens(self, diamonds: int) -> None:
        """Viewers get diamonds, if any, and all open their pusher-js clients."""
        for viewer in self.viewers if diamonds else ():
            await self.world.credit(viewer, diamonds)
        listeners = (self.world.listen(person, *channels) for person, channels in self._channels().items())
        self.clients = dict(zip(self._channels(), await asyncio.gather(*listeners), strict=True))

    async def goes_on_air(self, max_seconds: int | None = None) -> None:
        """The streamer opens the session, perhaps for so long at most."""
        prices = {"exclusive": EXCLUSIVE_PRICE, "sd": SD_PRICE}
        body = {"prices": prices, "title": "tonight", "max_seconds": max_seconds}
        answer = await self.does(self.streamer, "POST", "/sessions", body, 201)
        self.session_id = answer["session_id"]
        self.names(self.session_id, f"session-of-{self.streamer}")
        await self.sees_on_kafka("session.started")

    async def sets_up_a_camera(self) -> None:
        """The streamer's first source, of which BytePlus takes pictures for moderation."""
        room = f"/sessions/{self.session_id}/sources/camera-{self.session_id}"
        await self.does(self.streamer, "PUT", room, {"preset": "preview"}, 204)
        await self.is_photographed("taken")

    async def invites(self) -> str:
        """The viewer asks for a step alone with the streamer; the goal's id."""
        context = {"session_id": self.session_id, "duration": STEP_SECONDS}
        answer = await self.does(self.viewer, "POST", "/goals?type=trigger-exclusive", {"context": context}, 202)
        invitation: str = answer["goal_id"]
        self.escrows.append(f"trigger_exclusive:{invitation}")
        self.names(invitation, f"invitation-of-{self.viewer}")
        return invitation

    async def invites_and_is_seen(self) -> str:
        """The viewer asks, and the streamer's client shows it: now she can answer."""
        seen = len(self.pushes_to(self.streamer))
        invitation = await self.invites()
        for person in self.clients:
            await self.sees(person, "goal.added invitation", after=seen)
        return invitation

    async def agrees(self, invitation: str) -> None:
        """The streamer says yes, and the viewer's client hears that it may watch alone."""
        await self.does(self.streamer, "DELETE", f"/goals/{invitation}", {"agree": True}, 204)
        await self.sees(self.viewer, "stream.authorized agreed")

    async def refuses(self, invitation: str) -> None:
        """The streamer says no."""
        await self.does(self.streamer, "DELETE", f"/goals/{invitation}", {"agree": False}, 204)

    async def starts_exclusive(self, invitation: str) -> str:
        """The streamer begins the 1-on-1, and both clients show it; the goal's id."""
        context = {"session_id": self.session_id, "trigger_exclusive_goal_id": invitation}
        answer = await self.does(self.streamer, "POST", "/goals?type=exclusive", {"context": context}, 201)
        self.names(answer["goal_id"], f"exclusive-of-{self.viewer}")
        for person in self.clients:
            await self.sees(person, "goal.added exclusive")
        goal_id: str = answer["goal_id"]
        return goal_id

    async def ends_session(self) -> None:
        """The streamer goes off air."""
        await self.does(self.streamer, "DELETE", f"/sessions/{self.session_id}", None, 204)

    async def does(
        self, who: Person, method: str, path: str, body: Mapping[str, Any] | None = None, status: int = 200
    ) -> Any:
        """One command over HTTP, noted in the timeline; what it answers.

        Raises:
            Unmet: it answers with another status.
        """
        at = time.time()
        answer = await self.world.command(who, method, path, body)
        took = (time.time() - at) * 1_000
        problem = answer.json().get("type", "") if answer.is_error and answer.content else ""
        note = f"{who}: {method} {self.world.plain(path)}  → {answer.status_code} {problem} in {took:.0f} ms"
        self._lines.append(Line(at, "HTTP", note))
        if answer.status_code != status:
            raise Unmet(f"{note}, expected {status}: {answer.text}")
        return answer.json() if answer.content else None

    def clicks(self, who: Person, shown: str) -> None:
        """Somebody goes on in a browser, before a page that says this."""
        said = shorten(self.world.plain(shown), SHOWN_MAX, placeholder=" …")
        self._lines.append(Line(time.time(), "HTTP", f"{who}'s browser shows {said}"))

    async def watches(self, who: Person, preset: str) -> None:
        """They fetch a token, with which a client enters the room: it is for this preset.

        Raises:
            Unmet: it is for another, and no time that was paid for has run out meanwhile, as on a busy machine.
        """
        answer = await self.does(who, "GET", f"/sessions/{self.session_id}/token?explain=true")
        paid_until = next(rule["exp"] for rule in answer["explanation"]["rules"] if rule["rule"] == "paid")
        is_late = preset == "sd" and paid_until is not None and paid_until <= time.time()
        if answer["preset"] != preset and not is_late:
            raise Unmet(f"{who} may watch {answer['preset']}, expected {preset}: {answer['explanation']}")

    async def is_refused(self, who: Person, slug: str, path: str, body: Mapping[str, Any]) -> None:
        """A POST that comes to nothing, for this reason.

        Raises:
            Unmet: it is carried out, or refused for another one.
        """
        problem = await self.does(who, "POST", path, body, 409)
        if problem["type"] != f"/problems/{slug}":
            raise Unmet(f"POST {path} was refused as {problem['type']}, expected {slug}")

    # -- what is seen of it --------------------------------------------------------------------------------------------

    def events(self) -> Mapping[str, Sequence[str]]:
        """What Kafka has carried of this session so far: by topic, in few words."""
        by_topic: dict[str, list[str]] = {}
        for carried in self.world.tap.of(session_id=self.session_id):
            by_topic.setdefault(carried.topic, []).append(carried.brief)
        return by_topic

    def purchases(self) -> Sequence[Carried]:
        """What Kafka has carried of what the viewers buy for money: it is of no session, and no operator gave it."""
        buyers = {viewer.id for viewer in self.viewers}
        return [
            carried
            for carried in self.world.tap.carried
            if isinstance(carried.event, PURCHASES)
            and carried.event.user_id in buyers
            and not getattr(carried.event, "credited_by", None)
        ]

    def pushes_to(self, who: Person) -> Sequence[Pushed]:
        """What this person's client has received so far."""
        return self.clients[who].pushes

    async def sees_on_kafka(self, brief: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until Kafka has carried this event of the session."""

        async def carried() -> Mapping[str, Sequence[str]]:
            return self.events()

        await until(
            f"{brief} on Kafka", carried, lambda topics: any(brief in seen for seen in topics.values()), seconds
        )

    async def sees(self, who: Person, brief: str, *, after: int = 0, seconds: float = WAIT_SECONDS) -> None:
        """Wait until this person's client has received such a push, not counting the first `after`."""

        async def received() -> list[str]:
            return [push.brief for push in self.pushes_to(who)[after:]]

        await until(f"{brief} at {who}'s client", received, lambda seen: brief in seen, seconds)

    async def is_photographed(self, pictures: Literal["taken", "none"]) -> None:
        """Wait until BytePlus takes pictures, or none, where there is one."""

        async def told() -> Sequence[str]:
            return self.events().get("rtc-control", ())

        wanted = f"rtc.snapshot_changed {pictures}"
        if self.world.has_byteplus:
            await until(wanted, told, lambda briefs: briefs[-1:] == [wanted])

    async def is_cut(self, who: Person) -> None:
        """Wait until this person's connection was cut, and the stream's channels are refused to the next one."""

        async def refused() -> set[str]:
            return {str(one["channel"]) for one in self.clients[who].received if one["heard"] == "refused"}

        shared = {f"{kind}@{self.streamer.id}" for kind in ("presence-stream", "private-stream")}
        await until(f"{who}'s client to be refused the stream", refused, lambda seen: shared <= seen)
        self.gone.add(who)

    async def is_open_to_everyone(self) -> None:
        """Wait until the session belongs to nobody alone."""
        session = f"/sessions/{self.session_id}"
        await until(
            "the session to be exclusive to nobody",
            lambda: self.world.get(self.viewer, session),
            lambda seen: seen["status"]["exclusive_to"] == [],
        )

    async def comes_out(self, expected: Expected, seconds: float = WAIT_SECONDS) -> None:
        """Wait for the outcome: events, pushes, wallets and escrows, each of them exactly.

        Raises:
            Unmet: names everything that differs.
        """
        self.expected = expected
        await until("the outcome", self.differences, lambda lines: not lines, seconds)
        await self._tell_ledger()

    async def differences(self) -> list[str]:
        """In what the world differs from what was expected; to be asked again at the end of the run."""
        if self.expected is None:
            return ["the story did not come to its end"]
        return await differences(self, self.expected)

    def timeline(self) -> list[str]:
        """Everything that happened, by time, as lines to print."""
        return timeline.rendered([*self._lines, *self._kafka_lines(), *self._push_lines()])

    async def _tell_ledger(self) -> None:
        """Put into the timeline what the ledger says."""
        for viewer in self.viewers:
            for entry in (await self.world.get(viewer, "/wallets/me/entries"))["items"]:
                self._note(f"{viewer}'s wallet: {entry['kind']} {entry['amount_diamonds']:+}")
            wallet = await self.world.get(viewer, "/wallets/me")
            self._note(f"{viewer} has {wallet['balance_diamonds']} diamonds")
        earned = await self.world.get(self.streamer, "/wallets/me")
        self._note(f"{self.streamer} has earned {earned['earnings_diamonds']}")

    def _note(self, text: str) -> None:
        self._lines.append(Line(time.time(), "LEDGER", text))

    def _channels(self) -> Mapping[Person, Sequence[str]]:
        """What each client subscribes to (SPEC §6)."""
        streamer = self.streamer.id
        shared = (f"presence-stream@{streamer}", f"private-stream@{streamer}")
        return {self.streamer: (*shared, f"private-user@{streamer}")} | {
            viewer: (*shared, f"private-user@{viewer.id}", f"presence-stream-viewer@{streamer}.preview.{viewer.id}")
            for viewer in self.viewers
        }

    def _kafka_lines(self) -> Iterator[Line]:
        for carried in (*self.world.tap.of(session_id=self.session_id), *self.purchases()):
            yield Line(carried.at, "KAFKA", f"{carried.topic}: {carried.brief} {carried.figures}".rstrip())

    def _push_lines(self) -> Iterator[Line]:
        """A line for each push, however many clients and channels it came to; at the time of the first."""
        together: dict[tuple[str, int, str], list[tuple[Person, Pushed]]] = {}
        for person, client in self.clients.items():
            for push in client.pushes:
                together.setdefault((push.brief, push.seq, push.event_id), []).append((person, push))
        for (brief, seq, _), received in together.items():
            channels = Counter(self.world.plain(push.channel) for _, push in received)
            people = ", ".join(dict.fromkeys(person.name for person, _ in received))
            text = f"{brief}  → {people}  #{seq} on {', '.join(channels)}"
            yield Line(min(push.at for _, push in received), "PUSH", text)
