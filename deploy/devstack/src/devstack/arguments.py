"""What `devstack` understands: its commands, their options and what each is good for."""

import argparse
import re
from pathlib import Path
from typing import Any

SCOPES = ("PAID", "HUMAN", "CREATOR", "OPS")
TOKEN_SECONDS = 3_600
EVERY_SERVICE = "all"
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
OF_THE_CONTRACTS = {
    "tail": "show the events as they are told",
    "emit": "send an example of an event to Kafka",
}
"""Commands of `contracts`, on the stack's Kafka; it understands their options itself."""


def parser() -> argparse.ArgumentParser:
    """Everything that can be typed; `command` is the name of the command."""
    every = argparse.ArgumentParser(
        prog="devstack",
        description="The local stack: real servers and services on loopback.",
        epilog="`devstack COMMAND --help` says more. A PART is a process as `devstack status` names it: "
        "kafka, escrow-api, goals-worker.",
    )
    every.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--data", help="data directory; default DEVSTACK_DATA, else .devstack in the checkout")
    commands = every.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    _add_the_stack(commands, everywhere)
    _add_its_parts(commands, everywhere)
    _add_its_data(commands, everywhere)
    _add_its_users(commands, everywhere)
    return every


class _Version(argparse.Action):
    """As `action="version"`, but who does not ask does not pay."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - as said

        print(f"devstack {version('devstack')}")
        parser.exit()


def _add_the_stack(commands: Any, everywhere: argparse.ArgumentParser) -> None:
    up = commands.add_parser(
        "up", parents=[everywhere], help="start the stack in the background, return when it is ready"
    )
    up.add_argument(
        "--port-base", type=int, help="first of its ports; default DEVSTACK_PORT_BASE, else as stored, else free ones"
    )
    up.add_argument("--only", nargs="+", metavar="PART", default=[], help="start these parts only")
    up.add_argument(
        "--workers",
        nargs="+",
        type=_workers,
        metavar="SERVICE=N",
        default=[],
        help="so many worker processes of a service, which share its topics' partitions (goals=2)",
    )
    up.add_argument(
        "--together",
        action="store_true",
        help="one process for each service: its api is its worker, too, and has the name of the api",
    )

    commands.add_parser("down", parents=[everywhere], help="stop it")

    status = commands.add_parser("status", parents=[everywhere], help="what runs, and where it listens")
    status.add_argument("--json", action="store_true", help="for programs")

    clock = commands.add_parser(
        "clock",
        parents=[everywhere],
        help="move the clock of all services ahead: what takes an hour is over in a second",
        description="Let time pass for all services of the stack at once: `devstack clock +61m`. Timers become due, "
        "tokens and offers end. It goes forward only, until `devstack down`. Without +TIME: how far ahead it is.",
    )
    clock.add_argument("by", nargs="?", type=_passing, metavar="+TIME", help="+30s, +5m, +2h, +1d")

    logs = commands.add_parser("logs", parents=[everywhere], help="the end of the logs")
    logs.add_argument("name", nargs="?", help="of this part only; `supervisor` tells the stack's own story")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as they grow")

    commands.add_parser("topics", parents=[everywhere], help="Kafka's topics and their partitions")
    commands.add_parser(
        "doctor",
        parents=[everywhere],
        help="is it well? topics, indexes, lag, keys, clocks, the ledger's sum, versions; what to do if not",
    )
    for name, deed in OF_THE_CONTRACTS.items():
        commands.add_parser(name, add_help=False, help=deed)


def _add_its_parts(commands: Any, everywhere: argparse.ArgumentParser) -> None:
    for name, deed in (
        ("stop", "stop parts, until `start`"),
        ("start", "start stopped parts, return when they are ready"),
        ("restart", "stop and start parts"),
    ):
        change = commands.add_parser(name, parents=[everywhere], help=deed)
        change.add_argument("part", nargs="+", metavar="PART")

    execute = commands.add_parser(
        "exec",
        parents=[everywhere],
        help="run `python -m SERVICE ARGS` in that service's environment",
        description="Run `python -m SERVICE ARGS` with the environment of that service in the running stack: "
        f"`devstack exec escrow parked`; or of each: `devstack exec {EVERY_SERVICE} parked`. "
        "Options of devstack itself stand before SERVICE.",
    )
    execute.add_argument("service", metavar="SERVICE", help=f"or `{EVERY_SERVICE}`, one after another")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGS")


def _add_its_data(commands: Any, everywhere: argparse.ArgumentParser) -> None:
    for name, deed in (
        ("backup", "write all that a service has stored, as of one moment, to FILE"),
        ("restore", "put what `backup` wrote in the place of what a service, which is stopped, has stored"),
    ):
        data = commands.add_parser(name, parents=[everywhere], help=deed)
        data.add_argument("service", metavar="SERVICE")
        data.add_argument("file", metavar="FILE", type=Path)


def _add_its_users(commands: Any, everywhere: argparse.ArgumentParser) -> None:
    token = commands.add_parser("token", parents=[everywhere], help="print an access token")
    token.add_argument("--user", required=True, help="user id, 24 lower-case hex digits")
    token.add_argument("--scope", action="append", choices=SCOPES, default=[], help="may be repeated")
    token.add_argument("--seconds", type=int, default=TOKEN_SECONDS, help="how long it lives (default %(default)s)")

    call = commands.add_parser(
        "call",
        parents=[everywhere],
        help="one HTTP request with a user's token: status and answer",
        description="One request to the gateway, or past it to a PART, and `STATUS BODY` as its answer: "
        "`devstack call --user ID --scope CREATOR POST /sessions '{…}'`.",
    )
    call.add_argument("--user", help="user id, 24 lower-case hex digits; without, nobody asks")
    call.add_argument("--scope", action="append", choices=SCOPES, default=[], help="may be repeated")
    call.add_argument("--part", default="nginx", help="which process to ask (default: the gateway)")
    call.add_argument("method", metavar="METHOD")
    call.add_argument("path", metavar="PATH")
    call.add_argument("body", nargs="?", metavar="BODY", help="JSON")

    listen = commands.add_parser(
        "listen",
        parents=[everywhere],
        help="hear what is pushed to a user, until the stack ends",
        description="A pusher-js client with this user's token. It says `listening` when it is subscribed to all, "
        "then prints each push, a line each.",
    )
    listen.add_argument("--user", required=True, help="whose client it is; their own channel is always heard")
    listen.add_argument("--stream", action="append", default=[], metavar="STREAMER", help="watched; may be repeated")
    listen.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    listen.add_argument("channel", nargs="*", metavar="CHANNEL", help="further channels by their names")

    trigger = commands.add_parser(
        "trigger",
        parents=[everywhere],
        help="have a push arrive at a user",
        description="A push as docs/pushes.md shows it, on each of its channels, without what leads to it: "
        "`devstack trigger gift.failed --user ID`.",
    )
    trigger.add_argument("name", metavar="NAME", help="of the push: gift.failed, goal.added, stream.authorized")
    trigger.add_argument("--user", required=True, help="who hears it; user id, 24 lower-case hex digits")
    trigger.add_argument("--stream", metavar="STREAMER", help="whose stream it is about (default: the user's own)")
    follow = commands.add_parser(
        "follow",
        parents=[everywhere],
        help="what followed from a request, or happened to a goal, session or user",
        description="HTTP, events, ledger and pushes of one request (its x-request-id), goal, session, user, payment, "
        "gift or order, by time.",
    )
    follow.add_argument("id", metavar="ID")
    follow.add_argument("--since", default="1h", metavar="WHEN", help="10m, 2h, or an RFC 3339 instant; default 1h")


def _passing(text: str) -> float:
    """Seconds of `+5m`, for argparse."""
    match = re.fullmatch(r"\+([0-9]{1,9})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not like +30s, +5m, +2h or +1d: time goes forward only")
    return int(match[1]) * _SECONDS[match[2]]


def _workers(text: str) -> tuple[str, int]:
    """`goals=2`, for argparse."""
    service, _, number = text.partition("=")
    if not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not like goals=2")
    return service, int(number)
