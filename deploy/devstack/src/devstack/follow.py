"""What followed from one request, or happened to one goal, session or user: HTTP, events, ledger and pushes, by time.

Kafka says which events are about it, by the id of the request that set them off or by the ids in them; from these
follow the requests and the pushes, which stand in the logs, and the transfers, which stand in escrow's ledger.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from contracts.versions import parse_type
from contracts_cli.broker import Broker, NoBroker
from contracts_cli.reading import Told, reading
from devstack.backups import database_of
from devstack.brief import brief, figures
from devstack.errors import StackError
from devstack.stack import Stack
from devstack.timeline import HEAD, Line, rendered

OTHER_NAMES: Final = {
    "session.goal_added": ("goal.added", "stream.authorized"),
    "goal.progressed": ("goal.progress.updated",),
    "goal.ended": ("goal.ended", "exclusive.closed"),
    "session.viewer_authorized": ("stream.authorized",),
    "session.viewer_revoked": ("stream.revoked",),
}
"""What an event is pushed as, where that is not its own name."""


@dataclass(frozen=True, slots=True)
class Found:
    """The events that are about an id, and what follows from them."""

    id: str
    events: Sequence[Told]

    @property
    def requests(self) -> set[str]:
        """The ids of the requests that set them off."""
        return {self.id, *(told.headers.get("ce_correlationid", "") for told in self.events)}

    @property
    def ids(self) -> set[str]:
        """Every id in them."""
        return {self.id, *(value for told in self.events for value in _values(told.data))}

    def pushes(self, channel: str) -> Mapping[str, tuple[str, Told]]:
        """What each of them would be pushed as on a channel, by the push's id (SPEC §9: derived ids)."""
        found = {}
        for told in self.events:
            name = parse_type(told.type).name
            for push in OTHER_NAMES.get(name, (name,)):
                cause = ":".join((told.headers["ce_id"], push, channel))
                found[sha256(cause.encode()).hexdigest()[:24]] = (push, told)
        return found


def follow(stack: Stack, id_: str, since: datetime) -> list[str]:
    """The lines of its timeline. Raises StackError if nothing is known of it since then, or a server is away."""
    namespace = stack.settings.variables.get("NAMESPACE", "")
    try:
        events = asyncio.run(_events(Broker(stack.kafka_bootstrap, namespace), id_, since))
    except NoBroker as error:
        raise StackError(str(error)) from None
    found = Found(id_, events)
    lines = [*_event_lines(events), *_log_lines(stack, found), *_ledger_lines(stack, found, since)]
    if not lines:
        raise StackError(
            f"nothing is known of {id_} since {since.isoformat(timespec='seconds')}; --since looks further"
        )
    return [HEAD, *rendered(lines)]


async def _events(broker: Broker, id_: str, since: datetime) -> list[Told]:
    async with reading(broker, int(since.timestamp() * 1_000), to_now=True) as told:
        return [one async for one in told if _is_about(one, id_)]


def _is_about(told: Told, id_: str) -> bool:
    return id_ in (told.headers.get("ce_correlationid"), told.headers.get("ce_id")) or id_ in _values(told.data)


def _values(data: Any) -> Iterator[str]:
    """Every text in it; of `show_funding:ID` the id, too."""
    if isinstance(data, str):
        yield data
        yield data.rpartition(":")[2]
    elif isinstance(data, dict | list):
        for part in data.values() if isinstance(data, dict) else data:
            yield from _values(part)


def _event_lines(events: Iterable[Told]) -> Iterator[Line]:
    for told in events:
        text = f"{told.topic}: {brief(parse_type(told.type).name, told.data)} {figures(told.data)}".rstrip()
        yield Line(told.at_ms / 1_000, "KAFKA", text)


# -- what stands in the logs -------------------------------------------------------------------------------------------


def _log_lines(stack: Stack, found: Found) -> Iterator[Line]:
    requests = found.requests
    paths = {row["request_id"]: row["path"] for row in _rows(stack, "nginx.log") if "request_id" in row}
    for row in _rows(stack, "*-api*.log"):
        path = paths.get(row.get("request_id"), row.get("route"))
        if row.get("event") == "request" and (
            row["request_id"] in requests or found.id == row.get("user_id") or found.id in str(path).split("/")
        ):
            who = row.get("user_id") or "nobody"
            text = f"{who}: {row['method']} {path}  → {row['status']} in {row['ms']:.0f} ms"
            yield Line(_seconds(row) - row["ms"] / 1_000, "HTTP", text)
    yield from _push_lines(_rows(stack, "notifier-*.log"), found)


def _push_lines(rows: Iterable[Mapping[str, Any]], found: Found) -> Iterator[Line]:
    """A line for each push, on however many channels; at the time when Pusher took the first."""
    taken: dict[tuple[str, str], list[tuple[float, str]]] = {}
    told_by: dict[str, Told] = {}
    for row in rows:
        if row.get("type") == "push" and row.get("outcome") == "done":
            if (pushed := found.pushes(row["key"]).get(row["id"])) is None:
                continue
            name, told = pushed
            told_by[told.headers["ce_id"]] = told
            taken.setdefault((name, told.headers["ce_id"]), []).append((_seconds(row), row["key"]))
    for (name, event_id), channels in taken.items():
        where = ", ".join(dict.fromkeys(channel for _, channel in channels))
        yield Line(min(channels)[0], "PUSH", f"{brief(name, told_by[event_id].data)}  on {where}")


def _seconds(row: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(row["timestamp"]).timestamp()


def _rows(stack: Stack, pattern: str) -> Iterator[dict[str, Any]]:
    for path in sorted((stack.data / "logs").glob(pattern)):
        with path.open(errors="replace") as lines:
            for line in lines:
                if (row := _row(line)) is not None:
                    yield row


def _row(line: str) -> dict[str, Any] | None:
    """None of a traceback, or of what a library prints."""
    with suppress(ValueError):
        row = json.loads(line)
        return row if isinstance(row, dict) else None
    return None


# -- the ledger --------------------------------------------------------------------------------------------------------


def _ledger_lines(stack: Stack, found: Found, since: datetime) -> Iterator[Line]:
    """The transfers on the accounts that the events name, which an event or a request of these has caused."""
    if "escrow" not in {told.topic for told in found.events}:
        return
    ids = found.ids
    accounts = [f"{kind}:{id_}" for kind in ("wallet", "escrow", "earnings") for id_ in ids]
    where = {"$or": [{side: {"$in": accounts}, "at": {"$gte": since}} for side in ("debit", "credit")]}
    with database_of(stack, "escrow") as database:
        for row in database["transfers"].find(where):
            if found.id in (row["debit"] + row["credit"]) or ids & {row["cause"], *_named(row)}:
                moved = f"{row['amount_diamonds']} diamonds  {row['debit']} → {row['credit']}"
                yield Line(row["at"].replace(tzinfo=UTC).timestamp(), "LEDGER", f"{row['kind']}: {moved}")


def _named(row: Mapping[str, Any]) -> set[str]:
    return {row[name] for name in ("earning_id", "escrow_id") if row.get(name)}
