"""`devstack`: the command line. Imports come late, each command pays for its own: `token` must be quick."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
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
        prog="devstack", description="The local stack: real servers and services on loopback."
    )
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--data", help="data directory; default DEVSTACK_DATA, else .devstack in the checkout")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser(
        "up", parents=[everywhere], help="start the stack in the background, return when it is ready"
    )
    up.add_argument(
        "--port-base", type=int, help="first of its ports; default DEVSTACK_PORT_BASE, else as stored, else free ones"
    )
    up.add_argument("--only", nargs="+", metavar="PART", default=[], help="start these parts only")
    up.set_defaults(run=_up)

    commands.add_parser("down", parents=[everywhere], help="stop it").set_defaults(run=_down)

    status = commands.add_parser("status", parents=[everywhere], help="what runs, and where it listens")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_status)

    logs = commands.add_parser("logs", parents=[everywhere], help="the end of the logs")
    logs.add_argument("name", nargs="?", help="of this part only; `supervisor` tells the stack's own story")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as they grow")
    logs.set_defaults(run=_logs)

    token = commands.add_parser("token", parents=[everywhere], help="print an access token")
    token.add_argument("--user", required=True, help="user id, 24 lower-case hex digits")
    token.add_argument("--scope", action="append", choices=SCOPES, default=[], help="may be repeated")
    token.add_argument("--seconds", type=int, default=TOKEN_SECONDS, help="how long it lives (default %(default)s)")
    token.set_defaults(run=_token)

    commands.add_parser("topics", parents=[everywhere], help="Kafka's topics and their partitions").set_defaults(
        run=_topics
    )
    return parser


def _stack(arguments: argparse.Namespace, **more: Any) -> "Stack":
    from devstack.stack import Stack  # noqa: PLC0415 - late, see above

    return Stack(arguments.data, **more)


def _up(arguments: argparse.Namespace) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # leave nothing behind then either
    stack = _stack(arguments, only=tuple(arguments.only), port_base=_port_base(arguments.port_base))
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

    if not re.fullmatch(r"[0-9a-f]{24}", arguments.user):
        raise StackError(f"--user must be 24 lower-case hex digits, not {arguments.user!r}")
    running = state.read(data_directory(arguments.data))
    variables = running.settings.variables if running else handed_on(os.environ)
    print(access_token(arguments.user, arguments.scope, variables, arguments.seconds))
    return 0


def _topics(arguments: argparse.Namespace) -> int:
    from devstack.topics import topics  # noqa: PLC0415 - late, see above

    for name, partitions in topics(_stack(arguments).kafka_bootstrap).items():
        print(f"{name:24} {partitions:>3}")
    return 0
