"""A cluster of Kafka brokers on this machine: for tests of what a stack with its one broker cannot show."""

import asyncio
import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devstack import checks, downloads, tools
from devstack.errors import StackError
from devstack.parts import KAFKA_PROPERTIES, kafka_format, kafka_java
from devstack.process import die_with
from devstack.settings import base_environment

HEAP_MEGABYTES = 256
READY_SECONDS = 120.0  # for a machine that does much else besides
CHECK_INTERVAL_SECONDS = 0.1
TAIL_LINES = 20


class Brokers:
    """Brokers 1, 2, …, each its own controller too. As a context manager they are started, and gone at the end.

    `properties` are set over those of the stack, on all of them; `{port}` stands for the one that clients connect to,
    `{controller}` for that of its other half. `formatting` is for Kafka's tool, `security` for the client that asks
    whether they are ready.
    """

    def __init__(
        self,
        folder: Path,
        count: int = 3,
        properties: Mapping[str, str] | None = None,
        *,
        formatting: tuple[str, ...] = (),
        security: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self._properties = dict(properties or {})
        self._formatting = formatting
        self._security = security
        ports = _free_ports(2 * count)
        self._ports = dict(zip(range(1, count + 1), ports, strict=False))
        self._controllers = dict(zip(self._ports, ports[count:], strict=True))
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap(self) -> str:
        """For KAFKA_BOOTSTRAP: all of them."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports.values())

    def __enter__(self) -> Self:
        tools.require_platform()
        tools.require_commands(java=True, node=False, nginx=False, say=lambda _: None)
        downloads.kafka_jars()
        try:
            for number in self._ports:
                self._prepare(number)
            for number in self._ports:
                self._launch(number)
            for number in self._ports:
                self.wait_ready(number)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def kill(self, number: int) -> None:
        """End a broker as a crash would; it stays away until `start`."""
        process = self._running.pop(number)
        process.kill()
        process.wait()

    def start(self, number: int) -> None:
        """Start a broker that was killed, and return when it is ready."""
        self._launch(number)
        self.wait_ready(number)

    def wait_ready(self, number: int) -> None:
        """Return when broker `number` answers its clients. Raises StackError with the end of its log if it does not."""
        deadline = time.monotonic() + READY_SECONDS
        answers = checks.kafka_answers(f"127.0.0.1:{self._ports[number]}", self._security)
        while not _ask(answers):
            code = self._running[number].poll()
            if code is not None or time.monotonic() > deadline:
                tail = "\n".join(self._log(number).read_text(errors="replace").splitlines()[-TAIL_LINES:])
                raise StackError(f"broker {number} does not answer (status {code}); the end of its log:\n{tail}")

    def _prepare(self, number: int) -> None:
        """Format a broker's disk: the first one by Kafka's own tool, the others as its copies, which is quicker."""
        folder, first = self._folder / str(number), self._folder / "1" / "data"
        folder.mkdir(parents=True)
        file = folder / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in self._settings(number, folder).items()))
        if number == 1:
            command = (*kafka_format(kafka_java(HEAP_MEGABYTES), file), *self._formatting)
            subprocess.run(command, env=base_environment(), check=True, capture_output=True)
            return
        shutil.copytree(first, folder / "data")
        directory = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        mine = re.sub(r"(?m)^directory\.id=.*$", f"directory.id={directory}", (first / "meta.properties").read_text())
        (folder / "data" / "meta.properties").write_text(mine.replace("node.id=1", f"node.id={number}"))

    def _launch(self, number: int) -> None:
        file = self._folder / str(number) / "server.properties"
        with self._log(number).open("ab") as log:
            self._running[number] = subprocess.Popen(
                (*kafka_java(HEAP_MEGABYTES), "kafka.Kafka", str(file)),
                env=base_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 - it calls the kernel only, see there
            )

    def _settings(self, number: int, folder: Path) -> dict[str, str | int | Path]:
        port, controller = self._ports[number], self._controllers[number]
        voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in self._controllers.items())
        return {
            **KAFKA_PROPERTIES,
            "node.id": number,
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "controller.quorum.voters": voters,
            "log.dirs": folder / "data",
            **{name: value.format(port=port, controller=controller) for name, value in self._properties.items()},
        }

    def _log(self, number: int) -> Path:
        return self._folder / str(number) / "log"

    def _end(self) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGKILL)  # its data is nobody's
        for process in self._running.values():
            process.wait()
        self._running.clear()


def _ask(check: checks.Check) -> bool:
    """In a loop of its own, and not made the current one: tests have theirs."""

    async def ask() -> bool:
        answers = await check()
        await asyncio.sleep(CHECK_INTERVAL_SECONDS)  # before the next try; connections of this one are closed by then
        return answers

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(ask())


def _free_ports(count: int) -> list[int]:
    with ExitStack() as probes:
        sockets = [probes.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
