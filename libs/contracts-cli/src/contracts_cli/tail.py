"""Show the events as they are told.

From now on, or `--since` a while ago; all of them, or those of some types (`goal.*`), of one session. In order per key.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final

from contracts import Undecodable, attributes_of, event_of
from contracts_cli.broker import Broker
from contracts_cli.reading import Told, reading

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tail` understands."""
    parser.add_argument(
        "--type",
        action="append",
        default=[],
        metavar="PATTERN",
        help="such as goal.ended.v1, 'goal.*'; may be repeated",
    )
    parser.add_argument("--session", metavar="ID", help="of this session only")
    parser.add_argument("--since", type=moment, metavar="WHEN", help="10m, 2h, or an RFC 3339 instant; default: now")
    parser.add_argument("--to-now", action="store_true", help="end with what there is now")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")


def moment(text: str) -> datetime:
    """`10m` ago, or an instant. ArgumentTypeError for anything else."""
    if ago := re.fullmatch(r"(\d{1,9})([smhd])", text):
        now = datetime.now(UTC)  # noqa: TID251 - whoever asks is outside the services, and means the machine's time
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither like 10m nor like 2026-11-21T20:00:00Z")
    return at


async def run(broker: Broker, options: argparse.Namespace) -> int:
    """Print them, a line each, until all there is was printed (`--to-now`) or somebody stops it."""
    since_ms = None if options.since is None else int(options.since.timestamp() * 1_000)
    async with reading(broker, since_ms, to_now=options.to_now) as events:
        async for told in events:
            if is_wanted(told, options.type, options.session):
                sys.stdout.write(f"{told.as_json() if options.json else pretty(told)}\n")
                sys.stdout.flush()
    return 0


def is_wanted(told: Told, patterns: Sequence[str], session_id: str | None) -> bool:
    """Whether one of the patterns fits its type, and it is of the session."""
    if patterns and not any(fnmatchcase(told.type, pattern) for pattern in patterns):
        return False
    return session_id is None or (isinstance(told.data, dict) and told.data.get("session_id") == session_id)


def pretty(told: Told) -> str:
    """On one line, for people; what no consumer of ours could read says why."""
    at = datetime.fromtimestamp(told.at_ms / 1_000, UTC).strftime("%H:%M:%S.%f")[:-3]
    data = json.dumps(told.data, separators=(",", ":"), ensure_ascii=True)
    where = f"{told.topic}/{told.partition}@{told.offset}"
    return f"{at}  {where:18} {told.type:34} {told.key:24} {_unreadable(told)}{data}"


def _unreadable(told: Told) -> str:
    try:
        attributes = attributes_of([(name, value.encode()) for name, value in told.headers.items()])
        event_of(attributes, json.dumps(told.data).encode(), told.key.encode())
    except Undecodable as error:
        return f"✗ {error}: "
    return ""
