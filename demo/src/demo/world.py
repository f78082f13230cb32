"""The running system as outsiders see it: HTTP through the gateway, Kafka, a real pusher-js client, the ledger."""

import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from demo.listener import Listener
from demo.tap import Tap
from demo.waiting import Unmet, until
from devstack.settings import handed_on
from devstack.tokens import access_token

TOKEN_SECONDS = 3_600
ANSWER_SECONDS = 30.0  # as long as the gateway waits; a service gives up itself far earlier
NOT_NOW = frozenset({502, 503, 504})  # the gateway says so when a process is gone, a service when a server is
PAGE = 100  # as many accounts as the proof gives at once


@dataclass(frozen=True, slots=True)
class Person:
    """A user with an access token."""

    name: str
    id: str
    token: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Proof:
    """The whole ledger: every account with its balance, and what the service says of their sum."""

    accounts: Mapping[str, int]
    sum_diamonds: int
    holds: bool


@dataclass(slots=True)
class World:
    """One running stack. Made by `open_world`."""

    status: Mapping[str, Any]
    """What `devstack status --json` says."""
    http: httpx.AsyncClient
    tap: Tap
    variables: Mapping[str, str]
    """What of the environment decides which tokens the stack takes."""
    exits: AsyncExitStack
    names: dict[str, str] = field(default_factory=dict)
    """What people call an id."""
    ops: Person = field(init=False)
    """Who may provision diamonds and look at the whole ledger."""

    def __post_init__(self) -> None:
        self.ops = self.person("the house", "OPS")

    @property
    def has_byteplus(self) -> bool:
        """Whether there is somebody to take pictures: the stack's own sandbox, unless another address is wanted."""
        return "BYTEPLUS_ORIGIN" not in self.variables and any(
            process["name"] == "byteplus" for process in self.status["processes"]
        )

    def person(self, name: str, *scopes: str) -> Person:
        """Somebody new, with a token for these scopes."""
        person_id = secrets.token_hex(12)
        self.names[person_id] = name
        return Person(name, person_id, access_token(person_id, scopes, self.variables, TOKEN_SECONDS))

    def plain(self, text: str) -> str:
        """`text` with names in the place of ids, as far as they are known."""
        return re.sub(r"[0-9a-f]{24}", lambda found: self.names.get(found[0], found[0]), text)

    async def request(
        self, who: Person, method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str
    ) -> httpx.Response:
        """One request through the gateway."""
        headers["Authorization"] = f"Bearer {who.token}"
        return await self.http.request(method, path, json=body, headers=headers)

    async def command(
        self, who: Person, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """One command, said again under the same Idempotency-Key until it is answered, as a good client does.

        Raises:
            Unmet: nobody answers.
        """
        key = secrets.token_hex(12)
        return await self._answered(
            f"{method} {path}", lambda: self.request(who, method, path, body, **{"Idempotency-Key": key})
        )

    async def get(self, who: Person, path: str, **query: Any) -> Any:
        """What a GET answers, asked again while nobody is there to answer.

        Raises:
            Unmet: it does not answer 200.
        """
        headers = {"Authorization": f"Bearer {who.token}"}
        answer = await self._answered(f"GET {path}", lambda: self.http.get(path, params=query, headers=headers))
        if answer.status_code != httpx.codes.OK:
            raise Unmet(f"GET {path} answered {answer.status_code}: {answer.text}")
        return answer.json()

    async def _answered(self, what: str, ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """Ask until somebody is there to answer. Raises Unmet if nobody is, and says what came instead."""

        async def look() -> httpx.Response | str:
            try:
                answer = await ask()
            except httpx.TransportError as error:
                return repr(error)
            return f"{answer.status_code} {answer.text}" if answer.status_code in NOT_NOW else answer

        said = await until(f"an answer to {what}", look, lambda answer: isinstance(answer, httpx.Response))
        if isinstance(said, str):
            raise Unmet(said)
        return said

    async def listen(self, who: Person, *channels: str) -> Listener:
        """A pusher-js client of this user's, subscribed to these channels. It leaves with the world."""
        return await self.exits.enter_async_context(Listener(self.status, who.token, channels))

    async def credit(self, who: Person, amount_diamonds: int) -> None:
        """Provision diamonds, as OPS may."""
        answer = await self.command(self.ops, "POST", f"/wallets/{who.id}/credit", {"amount_diamonds": amount_diamonds})
        if answer.status_code != httpx.codes.CREATED:
            raise Unmet(f"crediting {who} answered {answer.status_code}: {answer.text}")

    async def proof(self) -> Proof:
        """The ledger's proof, all pages of it."""
        accounts: dict[str, int] = {}
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            page = await self.get(self.ops, "/ledger/proof", **query)
            accounts |= {row["account"]: row["balance_diamonds"] for row in page["accounts"]}
            if page["next"] is None:
                return Proof(accounts, page["sum_diamonds"], page["holds"])
            query["after"] = page["next"]


@asynccontextmanager
async def open_world(status: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> AsyncIterator[World]:
    """Look at the stack that this status is of, until the block ends."""
    async with AsyncExitStack() as exits:
        # The stack is on this machine: a proxy of the environment leads elsewhere.
        client = httpx.AsyncClient(base_url=status["gateway"], timeout=ANSWER_SECONDS, trust_env=False)
        http = await exits.enter_async_context(client)
        tap = await Tap(status["kafka_bootstrap"]).start()
        exits.push_async_callback(tap.stop)
        yield World(status, http, tap, handed_on(environ), exits)
