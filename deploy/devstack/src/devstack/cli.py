"""`devstack`: the command line. Imports come late, each command pays for its own: `token` must be quick."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from devstack.errors import StackError
from devstack.printable import printable

if TYPE_CHECKING:
    from devstack.stack import Stack

SCOPES = ("PAID", "HUMAN", "CREATOR", "OPS")
TOKEN_SECONDS = 3_600
LOG_LINES = 100
INTERRUPTED = 130  # what a shell expects of a command that ended by Ctrl-C


def main(argv: list[str] | None = None) -> int:
    """Do what the arguments say. The exit status is 0 if it was done; else a message on standard error says why not."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except KeyboardInterrupt:
        print("devstack: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `devstack logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (StackError, OSError) as error:  # the data directory may be no place to write to
        print(f"devstack: {printable(str(error))}", file=sys.stderr)  # it may quote the end of a log
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="devstack",
        description="The local stack: real servers and services on loopback.",
        epilog="`devstack COMMAND --help` says more. A PART is a process as `devstack status` names it: "
        "kafka, escrow-api, goals-worker.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--data", help="data directory; default DEVSTACK_DATA, else .devstack in the checkout")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    _add_the_stack(commands, everywhere)
    _add_its_parts(commands, everywhere)
    _add_its_users(commands, everywhere)
    return parser


class _Version(argparse.Action):
    """As `action="version"`, but who does not ask does not pay."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - late, see above

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
    up.set_defaults(run=_up)

    commands.add_parser("down", parents=[everywhere], help="stop it").set_defaults(run=_down)

    status = commands.add_parser("status", parents=[everywhere], help="what runs, and where it listens")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_status)

    logs = commands.add_parser("logs", parents=[everywhere], help="the end of the logs")
    logs.add_argument("name", nargs="?", help="of this part only; `supervisor` tells the stack's own story")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as they grow")
    logs.set_defaults(run=_logs)

    commands.add_parser("topics", parents=[everywhere], help="Kafka's topics and their partitions").set_defaults(
        run=_topics
    )


def _add_its_parts(commands: Any, everywhere: argparse.ArgumentParser) -> None:
    for name, deed in (
        ("stop", "stop parts, until `start`"),
        ("start", "start stopped parts, return when they are ready"),
        ("restart", "stop and start parts"),
    ):
        change = commands.add_parser(name, parents=[everywhere], help=deed)
        change.add_argument("part", nargs="+", metavar="PART")
        change.set_defaults(run=_change, command=name)

    execute = commands.add_parser(
        "exec",
        parents=[everywhere],
        help="run `python -m SERVICE ARGS` in that service's environment",
        description="Run `python -m SERVICE ARGS` with the environment of that service in the running stack: "
        "`devstack exec escrow parked`. Options of devstack itself stand before SERVICE.",
    )
    execute.add_argument("service", metavar="SERVICE")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="ARGS")
    execute.set_defaults(run=_exec)


def _add_its_users(commands: Any, everywhere: argparse.ArgumentParser) -> None:
    token = commands.add_parser("token", parents=[everywhere], help="print an access token")
    token.add_argument("--user", required=True, help="user id, 24 lower-case hex digits")
    token.add_argument("--scope", action="append", choices=SCOPES, default=[], help="may be repeated")
    token.add_argument("--seconds", type=int, default=TOKEN_SECONDS, help="how long it lives (default %(default)s)")
    token.set_defaults(run=_token)

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
    listen.set_defaults(run=_listen)


def _workers(text: str) -> tuple[str, int]:
    """`goals=2`, for argparse."""
    service, _, number = text.partition("=")
    if not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not like goals=2")
    return service, int(number)


def _stack(arguments: argparse.Namespace, **more: Any) -> "Stack":
    from devstack.stack import Stack  # noqa: PLC0415 - late, see above

    return Stack(arguments.data, **more)


def _up(arguments: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # leave nothing behind then either
    stack = _stack(
        arguments,
        only=tuple(arguments.only),
        port_base=_port_base(arguments.port_base),
        workers=dict(arguments.workers),
    )
    began = time.monotonic()
    if not stack.start(say=lambda line: print(f"  {printable(line)}", flush=True)):
        print("The stack is up already, with the same settings.")
        return 0
    print(f"The stack is up after {time.monotonic() - began:.1f} s: {stack.gateway}")
    print("`devstack status` shows its parts, `devstack logs -f` what they say, `devstack down` stops it.")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _port_base(given: int | None) -> int | None:
    text = os.environ.get("DEVSTACK_PORT_BASE")
    if given is not None or not text:
        return given
    if not text.isdecimal():
        raise StackError(f"DEVSTACK_PORT_BASE is no port number: {text!r}")
    return int(text)


def _down(arguments: argparse.Namespace) -> int:
    stopped = _stack(arguments).stop()
    print("The stack is down." if stopped else "No stack was running.")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    status = _stack(arguments).status()
    if arguments.json:
        print(json.dumps(status, indent=2))
        return 0
    print(f"{status['state']}, supervisor {status['supervisor']}, data in {status['data']}")
    for name in ("gateway", "mongo_url", "kafka_bootstrap"):
        print(f"{name:16} {status[name]}")
    pusher = status["pusher"]
    print(f"{'pusher':16} {' '.join(f'{name}={value}' for name, value in pusher.items())}")
    print()
    print(f"{'part':20} {'state':9} {'pid':>7} {'restarts':>8}  listens on")
    for part in status["processes"]:
        pid, listens = part["pid"] or "-", " ".join(part["listens"])
        print(f"{part['name']:20} {part['state']:9} {pid:>7} {part['restarts']:>8}  {listens}")
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    from devstack.settings import data_directory  # noqa: PLC0415 - late, see above

    folder: Path = data_directory(arguments.data) / "logs"
    files = sorted(folder.glob(f"{arguments.name or '*'}.log"))
    if not files:
        known = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "none yet"
        raise StackError(f"there is no such log in {folder}; there are: {known}")
    follow = ["-F", f"--pid={os.getpid()}"] if arguments.follow else []
    command = ("tail", "-n", str(LOG_LINES), *follow, "--", *map(str, files))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tail:
        try:
            for line in tail.stdout or ():
                print(printable(line.decode(errors="backslashreplace")), end="", flush=arguments.follow)
        except BaseException:
            tail.terminate()
            raise
    return tail.returncode


def _token(arguments: argparse.Namespace) -> int:
    from devstack import state  # noqa: PLC0415 - late, see above
    from devstack.settings import data_directory, handed_on  # noqa: PLC0415 - late, see above
    from devstack.tokens import access_token  # noqa: PLC0415 - late, see above

    _require_ids("--user", [arguments.user])
    running = state.read(data_directory(arguments.data))
    variables = running.settings.variables if running else handed_on(os.environ)
    print(access_token(arguments.user, arguments.scope, variables, arguments.seconds))
    return 0


def _require_ids(option: str, given: Sequence[str]) -> None:
    for text in given:
        if not re.fullmatch(r"[0-9a-f]{24}", text):
            raise StackError(f"{option} must be 24 lower-case hex digits, not {text!r}")


def _listen(arguments: argparse.Namespace) -> int:
    from devstack.listening import channels, listen  # noqa: PLC0415 - late, see above

    _require_ids("--user", [arguments.user])
    _require_ids("--stream", arguments.stream)
    names = [*channels(arguments.user, arguments.stream), *arguments.channel]
    listen(_stack(arguments), arguments.user, names, as_json=arguments.json)
    return 0


def _change(arguments: argparse.Namespace) -> int:
    stack = _stack(arguments)
    deed = {"stop": stack.stop_part, "start": stack.start_part, "restart": stack.restart_part}[arguments.command]
    for name in arguments.part:
        deed(name)
        part = stack.state().part(name)
        print(f"{name} is {part.state}{f', pid {part.process.pid}' if part.process else ''}", flush=True)
    return 0


def _exec(arguments: argparse.Namespace) -> NoReturn:
    from devstack.settings import base_environment, package  # noqa: PLC0415 - late, see above

    told = _stack(arguments).environment_of(arguments.service)
    command = (sys.executable, "-m", package(arguments.service), *arguments.words)
    os.execve(sys.executable, command, {**base_environment(), **told})  # noqa: S606 - no shell is wanted


def _topics(arguments: argparse.Namespace) -> int:
    from devstack.topics import topics  # noqa: PLC0415 - late, see above

    for name, partitions in topics(_stack(arguments).kafka_bootstrap).items():
        print(f"{name:24} {partitions:>3}")
    return 0
