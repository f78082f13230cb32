"""A stack from outside: what tests and the command line use."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devstack import clock, control, downloads, parts, services, state, tools
from devstack.errors import StackError
from devstack.launch import STOP_SECONDS, SupervisorHandle
from devstack.process import Identity, freeze, is_alive, listens, send, wait_gone
from devstack.settings import INFRASTRUCTURE, SERVICES, Settings, data_directory, decided_port_base, handed_on
from devstack.tokens import write_demo_keys

POLL_SECONDS = 0.05
FREEZE_SECONDS = 10.0  # a signal takes microseconds, on a machine that is overloaded more
DATA_MEGABYTES = 500  # of free disk: what a new stack writes, and room to be used for an hour


class Stack:
    """One stack, known by its data directory. It may be running already, and may have been started by somebody else.

    As a context manager it is started and stopped, and attached: should this process be killed, the stack ends with it.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        *,
        only: tuple[str, ...] = (),
        port_base: int | None = None,
        environ: Mapping[str, str] | None = None,
        workers: Mapping[str, int] | None = None,
        together: bool = False,
    ) -> None:
        """`only` names the parts to run, all if empty. Each part gets what it reads of `environ`, by default ours.

        `workers` says how many worker processes a service has, if not one. `together`, its api is the first of them.
        """
        self.data = data_directory(data)
        self._only = only
        self._wanted_base = port_base
        self._workers = dict(workers or {})
        self._together = together
        self._environ = dict(os.environ if environ is None else environ)
        self._supervisor: SupervisorHandle | None = None

    def __enter__(self) -> Self:
        self.start(attached=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, attached: bool = False, say: Callable[[str], None] = lambda _: None) -> bool:
        """Start the stack and return when every part is ready. False if it was running already.

        Raises StackError when it cannot run (then nothing is left of it), or runs with other settings (and says which).
        """
        while True:
            running = state.read(self.data)
            if running and running.runs:
                self._must_agree(running.settings)
                if self._wait_up(running.supervisor):
                    return False
            elif self._launch(attached=attached, say=say):
                return True
            time.sleep(POLL_SECONDS)  # another one is starting or stopping this stack at this moment

    def stop(self) -> bool:
        """Stop the stack and return when it is gone. False if none was running; what a killed one left is removed."""
        stopped = state.kill_stack(self.data, grace_seconds=STOP_SECONDS)
        if self._supervisor:
            self._supervisor.detach()
            self._supervisor = None
        return stopped

    def state(self) -> state.StackState:
        """What is known now. Raises StackError if the stack does not run."""
        return state.running(self.data)

    @property
    def settings(self) -> Settings:
        """What the running stack was started with."""
        return self.state().settings

    @property
    def mongo_url(self) -> str:
        """For MONGO_URL."""
        return parts.mongo_url(self.settings)

    @property
    def kafka_bootstrap(self) -> str:
        """For KAFKA_BOOTSTRAP."""
        return parts.kafka_bootstrap(self.settings)

    @property
    def gateway(self) -> str:
        """The base URL of the public API."""
        return parts.gateway(self.settings)

    @property
    def service_environment(self) -> dict[str, str]:
        """What any service needs in its environment to run against this stack, HTTP_PORT apart."""
        return services.environment(self.settings, *SERVICES)

    def environment_of(self, service: str) -> dict[str, str]:
        """What a service's processes have in their environment, HTTP_PORT apart. Raises StackError if there is none."""
        known = services.chosen(self.settings)
        if service not in known:
            raise StackError(f"there is no service {service!r} here; there are: {', '.join(known) or 'none'}")
        return services.environment(self.settings, service)

    @property
    def node_modules(self) -> Path:
        """For NODE_PATH: where pusher-js is."""
        return downloads.node_modules()

    @property
    def clock_ahead_seconds(self) -> float:
        """How far ahead of the machine's the clock of all its services is."""
        return clock.ahead_seconds(clock.with_clock({}, self.state().settings.data))

    def advance_clock(self, seconds: float) -> float:
        """Let so much time pass for all its services, at once; how far ahead they are then.

        Raises StackError when time would go back, or further than a year ahead.
        """
        return clock.advance(self.state().settings.data, seconds)

    def url(self, name: str) -> str:
        """The base URL of one service process, `goals-api` or `goals-worker`, past the gateway."""
        return f"http://127.0.0.1:{self.settings.port(name)}"

    def status(self) -> dict[str, Any]:
        """What `devstack status --json` prints."""
        now = self.state()
        return {
            "state": now.state,
            "data": str(self.data),
            "supervisor": now.supervisor.pid,
            "clock_ahead_seconds": self.clock_ahead_seconds,
            "gateway": self.gateway,
            "mongo_url": self.mongo_url,
            "kafka_bootstrap": self.kafka_bootstrap,
            "pusher": parts.pusher(now.settings),
            "node_modules": str(self.node_modules) if now.settings.runs("soketi") else None,
            "processes": [
                {
                    "name": part.name,
                    "pid": part.process.pid if part.process else None,
                    "listens": listens(part.process.pid) if part.process else [],
                    "state": part.state,
                    "restarts": part.restarts,
                }
                for part in now.parts
            ],
        }

    def process(self, name: str) -> Identity:
        """The process of a part. Raises StackError if it has none at this moment."""
        found = self.state().part(name).process
        if not found:
            raise StackError(f"{name} does not run at this moment")
        return found

    def kill(self, name: str) -> None:
        """Kill -9 a part, as a crash would; the supervisor starts it again. Returns when the process is gone."""
        process = self.process(name)
        send(process, signal.SIGKILL)
        wait_gone(process, state.KILL_SECONDS)

    def pause(self, name: str) -> None:
        """Freeze a part, its sockets open: nothing of it runs any more when this returns."""
        if not freeze(self.process(name), FREEZE_SECONDS):
            raise StackError(f"{name} does not stand still within {FREEZE_SECONDS} s")

    def resume(self, name: str) -> None:
        """Let a frozen part go on."""
        send(self.process(name), signal.SIGCONT)

    def stop_part(self, name: str) -> None:
        """Stop one part until `start_part`."""
        self._command("stop", name)

    def start_part(self, name: str, env: Mapping[str, str] | None = None) -> None:
        """Start a stopped part and return when it is ready. `env` is for this one process, not for its successors."""
        self._command("start", name, env)

    def restart_part(self, name: str, env: Mapping[str, str] | None = None) -> None:
        """`stop_part`, then `start_part`: a FAULT_PLAN given here kills once, and the process started then has none."""
        self._command("restart", name, env)

    def _command(self, command: control.Command, name: str, env: Mapping[str, str] | None = None) -> None:
        self.state().part(name)  # who is not there is told of without waiting
        control.tell(self.data, command, name, env)

    def wait_ready(self, name: str, *, after: int | None = None, seconds: float = 60) -> None:
        """Wait until a part is ready and its pid is not `after`. Raises StackError after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            part = self.state().part(name)
            if part.state == "ready" and part.process and is_alive(part.process) and part.process.pid != after:
                return
            if time.monotonic() > deadline:
                raise StackError(f"{name} is {part.state}, not ready, after {seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def _must_agree(self, running: Settings) -> None:
        base = running.port_base if self._wanted_base is None else self._wanted_base
        wanted = Settings(
            self.data, base, self._only, handed_on(self._environ), workers=self._workers, together=self._together
        )
        if differences := running.differences(wanted):
            lines = "".join(f"\n    {line}" for line in differences)
            raise StackError(
                "the stack is up with other settings: `make down` stops it and keeps its data, "
                f"or give this one a place of its own with DEVSTACK_DATA:{lines}"
            )

    def _wait_up(self, supervisor: Identity) -> bool:
        """Wait for a stack that somebody else starts. False if it did not come up."""
        while is_alive(supervisor):
            found = state.read(self.data)
            if found and found.state == "up":
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _launch(self, *, attached: bool, say: Callable[[str], None]) -> bool:
        """Start a supervisor and follow it until the stack is up. False if another one was quicker."""
        self._prepare(say)
        with decided_port_base(self.data, self._wanted_base) as base:
            write_demo_keys(self.data)
            variables = handed_on(self._environ)
            settings = Settings(self.data, base, self._only, variables, attached, self._workers, self._together)
            supervisor = SupervisorHandle(settings, self._environ)
            try:
                came_up = supervisor.follow(say)
            except BaseException:
                supervisor.disconnect()
                raise
        if came_up and attached:
            self._supervisor = supervisor
        else:
            supervisor.detach()
        return came_up

    def _prepare(self, say: Callable[[str], None]) -> None:
        tools.require_platform()
        self._require_space()
        runs = {name: not self._only or name in self._only for name in (*INFRASTRUCTURE, "nginx")}
        tools.require_commands(java=runs["kafka"], node=runs["soketi"], nginx=runs["nginx"], say=say)
        if runs["mongod"]:
            tools.mongod()
        if runs["kafka"]:
            downloads.kafka_jars(say)
        if runs["soketi"]:
            downloads.node_modules(say)

    def _require_space(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.data).free < DATA_MEGABYTES << 20:
            left = downloads.space_left(self.data)
            raise StackError(
                f"a stack takes {DATA_MEGABYTES} MB of disk, {left} (or name another place with DEVSTACK_DATA)"
            )
