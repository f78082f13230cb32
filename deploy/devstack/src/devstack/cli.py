"""`devstack`: the command line. Imports come late, each command pays for its own: `token` must be quick."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from devstack.arguments import EVERY_SERVICE, OF_THE_CONTRACTS, parser
from devstack.errors import StackError
from devstack.printable import printable

if TYPE_CHECKING:
    from devstack.stack import Stack

LOG_LINES = 100
INTERRUPTED = 130  # what a shell expects of a command that ended by Ctrl-C


def main(argv: list[str] | None = None) -> int:
    """Do what the arguments say. The exit status is 0 if it was done; else a message on standard error says why not."""
    typed = sys.argv[1:] if argv is None else argv
    try:
        if typed[:1] and typed[0] in OF_THE_CONTRACTS:
            return _contracts(typed)
        arguments = parser().parse_args(typed)
        status = COMMANDS[arguments.command](arguments)
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


def _stack(arguments: argparse.Namespace, **more: Any) -> "Stack":
    from devstack.stack import Stack  # noqa: PLC0415 - late, see above

    return Stack(arguments.data, **more)


def _up(arguments: argparse.Namespace) -> int:
    from devstack.settings import require_own_pusher  # noqa: PLC0415 - late, see above

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # leave nothing behind then either
    require_own_pusher(os.environ)
    stack = _stack(
        arguments,
        only=tuple(arguments.only),
        port_base=_port_base(arguments.port_base),
        workers=dict(arguments.workers),
        together=arguments.together,
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
    print(f"{'clock':16} {_told(status['clock_ahead_seconds'])}")
    pusher = status["pusher"]
    print(f"{'pusher':16} {' '.join(f'{name}={value}' for name, value in pusher.items())}")
    print()
    print(f"{'part':20} {'state':9} {'pid':>7} {'restarts':>8}  listens on")
    for part in status["processes"]:
        pid, listens = part["pid"] or "-", " ".join(part["listens"])
        print(f"{part['name']:20} {part['state']:9} {pid:>7} {part['restarts']:>8}  {listens}")
    return 0


def _clock(arguments: argparse.Namespace) -> int:
    stack = _stack(arguments)
    ahead = stack.advance_clock(arguments.by) if arguments.by else stack.clock_ahead_seconds
    print(_told(ahead))
    return 0


def _told(ahead_seconds: float) -> str:
    return f"{ahead_seconds:g} s ahead of this machine's clock" if ahead_seconds else "this machine's clock"


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
    from devstack.tokens import access_token, of_stack  # noqa: PLC0415 - late, see above

    _require_ids("--user", [arguments.user])
    data = data_directory(arguments.data)
    running = state.read(data)
    variables = of_stack(running.settings.variables, data) if running else handed_on(os.environ)
    print(access_token(arguments.user, arguments.scope, variables, arguments.seconds))
    return 0


def _require_ids(option: str, given: Sequence[str]) -> None:
    for text in given:
        if not re.fullmatch(r"[0-9a-f]{24}", text):
            raise StackError(f"{option} must be 24 lower-case hex digits, not {text!r}")


def _call(arguments: argparse.Namespace) -> int:
    from devstack.calling import call  # noqa: PLC0415 - late, see above
    from devstack.settings import data_directory  # noqa: PLC0415 - late, see above

    _require_ids("--user", [arguments.user] if arguments.user else [])
    request = (arguments.method, arguments.path, arguments.body)
    print(printable(call(data_directory(arguments.data), arguments.part, arguments.user, arguments.scope, request)))
    return 0


def _listen(arguments: argparse.Namespace) -> int:
    from devstack.listening import channels, listen  # noqa: PLC0415 - late, see above

    _require_ids("--user", [arguments.user])
    _require_ids("--stream", arguments.stream)
    names = [*channels(arguments.user, arguments.stream), *arguments.channel]
    listen(_stack(arguments), arguments.user, names, as_json=arguments.json)
    return 0


def _trigger(arguments: argparse.Namespace) -> int:
    from devstack.triggering import PAGE, pushes, trigger  # noqa: PLC0415 - late, see above

    streamer_id = arguments.stream or arguments.user
    _require_ids("--user", [arguments.user])
    _require_ids("--stream", [streamer_id])
    pusher = _stack(arguments).status()["pusher"]
    for line in trigger(pusher, pushes(PAGE.read_text(), arguments.name, arguments.user, streamer_id)):
        print(printable(line), flush=True)
    return 0


def _follow(arguments: argparse.Namespace) -> int:
    from contracts_cli.tail import moment  # noqa: PLC0415 - late, see above
    from devstack.follow import follow  # noqa: PLC0415 - late, see above

    try:
        since = moment(arguments.since)
    except argparse.ArgumentTypeError as error:
        raise StackError(f"--since: {error}") from None
    for line in follow(_stack(arguments), arguments.id, since):
        print(printable(line))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from devstack.doctor import examine  # noqa: PLC0415 - late, see above

    ill = 0
    for finding in examine(_stack(arguments)):
        print(printable(finding.line), flush=True)
        ill += bool(finding.advice)
    return 1 if ill else 0


def _change(arguments: argparse.Namespace) -> int:
    stack = _stack(arguments)
    deed = {"stop": stack.stop_part, "start": stack.start_part, "restart": stack.restart_part}[arguments.command]
    for name in arguments.part:
        deed(name)
        part = stack.state().part(name)
        print(f"{name} is {part.state}{f', pid {part.process.pid}' if part.process else ''}", flush=True)
    return 0


def _exec(arguments: argparse.Namespace) -> int:
    from devstack import services  # noqa: PLC0415 - late, see above
    from devstack.settings import base_environment, package  # noqa: PLC0415 - late, see above

    stack = _stack(arguments)
    one = arguments.service != EVERY_SERVICE
    code = 0
    for service in [arguments.service] if one else services.chosen(stack.settings):
        environment = {**base_environment(), **stack.environment_of(service)}
        command = (sys.executable, "-m", package(service), *arguments.words)
        if one:
            os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is wanted
        code = max(code, subprocess.run(command, env=environment, check=False).returncode)
    return code


def _backup(arguments: argparse.Namespace) -> int:
    from devstack import backups  # noqa: PLC0415 - late, see above

    stack = _stack(arguments)
    deed = {"backup": backups.backup, "restore": backups.restore}[arguments.command]
    number, moment = deed(stack, arguments.service, arguments.file)
    print(f"{number} documents of {arguments.service}, as of {moment}")
    return 0


def _contracts(typed: Sequence[str]) -> int:
    """The contracts' own command, on the stack's Kafka."""
    from contracts_cli.__main__ import main as contracts  # noqa: PLC0415 - late, see above
    from devstack.stack import Stack  # noqa: PLC0415 - late, see above

    if not {"-h", "--help"} & {*typed}:
        stack = Stack(None)
        os.environ["KAFKA_BOOTSTRAP"] = stack.kafka_bootstrap
        os.environ["NAMESPACE"] = stack.settings.variables.get("NAMESPACE", "")
    return contracts(typed)


def _topics(arguments: argparse.Namespace) -> int:
    from devstack.topics import topics  # noqa: PLC0415 - late, see above

    for name, partitions in topics(_stack(arguments).kafka_bootstrap).items():
        print(f"{name:24} {partitions:>3}")
    return 0


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "clock": _clock,
    "logs": _logs,
    "topics": _topics,
    "stop": _change,
    "start": _change,
    "restart": _change,
    "exec": _exec,
    "backup": _backup,
    "restore": _backup,
    "call": _call,
    "token": _token,
    "listen": _listen,
    "trigger": _trigger,
    "follow": _follow,
    "doctor": _doctor,
}
