"""The process behind a running stack: starts the parts in order, keeps them alive, stops them.

Run as `python -m devstack.supervisor`. Standard input brings the settings, one line of JSON; its end means that whoever
started the stack is gone, which ends a stack that is not up yet, or is attached to its starter. Standard output carries
the story to the starter until the stack is up. Commands about single parts come over a Unix socket. A lock on the data
directory itself, which the kernel drops with the process, keeps a second supervisor out.
"""

import asyncio
import fcntl
import json
import logging
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Collection, Coroutine, Iterable
from typing import Any, Literal

from devstack import clock, control, parts, services, state
from devstack.child import Child
from devstack.errors import StackError
from devstack.process import Identity, allow_many_files, identity_of
from devstack.settings import INFRASTRUCTURE, Settings

log = logging.getLogger("devstack")

EXIT_FAILED = 1


class Supervisor:
    """Everything a running stack knows."""

    def __init__(self, settings: Settings, me: Identity, directory: int) -> None:
        """`directory` is the open, locked data directory."""
        self._settings = settings
        self._me = me
        self._directory = directory
        self._state: Literal["starting", "up", "stopping"] = "starting"
        self._children: dict[str, Child] = {}
        self._over = asyncio.Event()
        self._commands: set[asyncio.Task[None]] = set()
        # One command at a time for each part: two restarts of one must not mix, and nobody waits for another part.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self) -> int:
        """Run the stack until somebody wants it down. The exit status is 0 if it came up."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._over.set)
        loop.add_reader(sys.stdin.fileno(), self._starter_speaks)
        for name in state.kill_leftovers(self._settings.data):
            self._say(f"{name} was left over from a killed stack, and is gone now")
        clock.reset(self._settings.data)
        self._write_state()
        server = await asyncio.start_unix_server(self._serve, control.socket_path(self._directory))
        starting, over = asyncio.create_task(self._start()), asyncio.create_task(self._over.wait())
        await asyncio.wait((starting, over), return_when=asyncio.FIRST_COMPLETED)
        starting.cancel()
        (failure,) = await asyncio.gather(starting, return_exceptions=True)
        if failure is None:
            await over
        elif isinstance(failure, Exception):
            log.error("the stack did not come up", exc_info=None if isinstance(failure, StackError) else failure)
            _tell(failed=str(failure))
        over.cancel()
        server.close()
        await _cancel(self._commands)
        await self._stop()
        state.remove(self._settings.data)
        return EXIT_FAILED if failure else 0

    async def _start(self) -> None:
        settings = self._settings
        infrastructure = parts.infrastructure(settings)
        ours = [*services.services(settings), *services.stage(settings)]
        gateway = [parts.nginx(settings)] if settings.runs("nginx") else []
        for part in (*infrastructure, *ours, *gateway):
            log_file = settings.data / "logs" / f"{part.name}.log"
            self._children[part.name] = Child(part, log_file, self._write_state, self._say)
        if unknown := sorted(set(settings.only) - self._children.keys()):
            raise StackError(f"there is no part {', '.join(unknown)}; `devstack status` of a whole stack names all")
        services.require_workers(settings)
        migrations = services.migrate(settings)  # they wait for their servers by themselves
        await _all([*(self._children[part.name].start() for part in infrastructure), migrations])
        await _all(self._children[part.name].start() for part in ours)
        await _all(self._children[part.name].start() for part in gateway)
        self._become("up")
        _tell(up=True)
        _let_go(sys.stdout.fileno())
        if not settings.attached:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            _let_go(sys.stdin.fileno())

    async def _stop(self) -> None:
        """Stop in the opposite order of starting: nobody loses what it depends on before it is gone itself."""
        self._become("stopping")
        infrastructure = [child for name, child in self._children.items() if name in INFRASTRUCTURE]
        others = [child for child in self._children.values() if child not in infrastructure]
        for group in (others, infrastructure):
            await asyncio.gather(*(child.stop() for child in group))
        log.info("the stack is down")

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = asyncio.create_task(self._answer(reader, writer))
        self._commands.add(command)
        command.add_done_callback(self._commands.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await reader.readline())
            async with self._turns[request["name"]]:
                answer = await self._obey(request["command"], request["name"], request["env"])
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ValueError, KeyError, ConnectionError) as error:
            log.warning("a command was not understood, or its sender did not wait: %r", error)
        finally:
            writer.close()

    async def _obey(self, command: str, name: str, env: dict[str, str]) -> dict[str, Any]:
        child = self._children.get(name)
        if self._state != "up":
            return {"error": f"the stack is {self._state}, not up"}
        if child is None:
            return {"error": f"the stack has no {name!r}; it has {', '.join(self._children)}"}
        try:
            if command in ("stop", "restart"):
                await child.stop()
                self._say(f"{name} is stopped, as told")
            if command in ("start", "restart") and child.state == "stopped":
                await child.start(env)
        except (StackError, OSError) as error:
            return {"error": str(error)}
        return {"pid": child.process.pid if child.process else None}

    def _starter_speaks(self) -> None:
        if not os.read(sys.stdin.fileno(), 1):
            log.info("whoever started this stack is gone")
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._over.set()

    def _become(self, what: Literal["starting", "up", "stopping"]) -> None:
        self._state = what
        self._write_state()

    def _write_state(self) -> None:
        seen = tuple(state.PartState(c.part.name, c.state, c.restarts, c.process) for c in self._children.values())
        state.write(self._settings.data, state.StackState(self._me, self._state, self._settings, seen))

    def _say(self, line: str) -> None:
        log.info("%s", line)
        if self._state == "starting":
            _tell(say=line)


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do all at once. The first failure calls the others off, waits for them, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _tell(**news: str | bool | list[int]) -> None:
    """Speak to whoever started the stack, if they still listen."""
    try:
        os.write(sys.stdout.fileno(), json.dumps(news).encode() + b"\n")
    except BrokenPipeError:
        _let_go(sys.stdout.fileno())


def _let_go(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor)
    os.close(null)


def main() -> int:
    """Take the lock, then run the stack."""
    os.umask(0o077)
    allow_many_files()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a broker that is not there yet is no error here
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin:
        settings = Settings.from_json(stdin.readline().decode())  # unbuffered: what follows is for the event loop
    if os.fork():
        os._exit(0)  # whoever started us does not become our parent: nobody has to reap us
    me = identity_of(os.getpid())
    if me is None:
        raise AssertionError("a process that runs has an identity")
    _tell(supervisor=[me.pid, me.started])
    directory = os.open(settings.data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _tell(locked=True)
        return EXIT_FAILED
    return asyncio.run(Supervisor(settings, me, directory).run())


if __name__ == "__main__":
    sys.exit(main())
