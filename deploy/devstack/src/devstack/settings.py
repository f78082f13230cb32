"""What a stack is told: where its data lives, which ports it uses, which parts it runs, what the services are given."""

import json
import os
import random
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from devstack.errors import StackError

CHECKOUT = Path(__file__).resolve().parents[4]
DEFAULT_DATA = CHECKOUT / ".devstack"
DEFAULT_PORT_BASE = 18_000

SERVICES = ("goals", "sessions", "escrow", "notifier", "shop", "rtc-control")
INFRASTRUCTURE = ("mongod", "kafka", "soketi", "sandbox", "sonet", "byteplus", "wallet")

# A part's place here is its port, counted from the base. The base is stored with the data: append, never reorder.
PORTS = (
    "nginx",
    "mongod",
    "kafka",
    "kafka-controller",
    "soketi",
    "soketi-metrics",
    *(f"{service}-{role}" for service in SERVICES for role in ("api", "worker")),
    "sandbox",
    "sonet",
    "byteplus",
    "wallet",
    "stage",
)
UNPRIVILEGED = 1_024  # the first port that needs no root
BLOCK = 32  # ports kept for one stack, so that neighbours stay apart when PORTS grows
CLAIM = BLOCK - 1  # of these, the one that is held while a stack starts, see `_is_free_block`
MORE_WORKERS_MAX = CLAIM - len(PORTS)

# What any process may need to run at all. Nothing else of the environment of `up` reaches a part unless it is named
# below: there may be cloud keys in it, and a part may be a tree of packages that we have not written.
BASE_VARIABLES = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER")

# What a process reads besides what the stack itself sets: it is handed on from the environment of `up`, to those alone
# who read it. A second `up` compares these.
EVERY_PROCESS = (
    "KAFKA_SESSION_TIMEOUT_SECONDS",
    "KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SASL_USERNAME",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SSL_CA_FILE",
    "KAFKA_SSL_CERTIFICATE_FILE",
    "KAFKA_SSL_KEY_FILE",
    "LEASE_SECONDS",
    "STUCK_SECONDS",
    "BACKLOG_MAX",
    "MONGO_DRIVER",
    "NAMESPACE",
    "LOG_LEVEL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "RELEASE",
    "FAULT_PLAN",
)
EVERY_API = (
    "UNKNOWN_WAIT_SECONDS",
    "JWT_KEYS",
    "JWT_KEYS_FILE",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "ACCESS_TOKEN_SECONDS_MAX",
)
STREAM_TOKENS = ("STREAM_TOKEN_KEYS", "BYTEPLUS_APP_ID", "BYTEPLUS_APP_KEY", "TOKEN_MAX_SECONDS")
OWN_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "goals": (
        "STEP_SECONDS",
        "PROPOSAL_SECONDS",
        "INVITATION_SECONDS",
        "EXCLUSIVE_WINDOW_SECONDS",
        "PRIVATE_JUDGED_SECONDS",
        "SESSION_MAX_SECONDS",
        "REFUSED_COOLDOWN_SECONDS",
        "TIMED_OUT_COOLDOWN_SECONDS",
        "UNPAID_COOLDOWN_SECONDS",
    ),
    "sessions": (
        "STEP_SECONDS",
        "PROPOSAL_SECONDS",
        "SESSION_MAX_SECONDS",
        "PRIVATE_JUDGED_SECONDS",
        *STREAM_TOKENS,
    ),
    "notifier": ("STEP_SECONDS", *STREAM_TOKENS),
    "escrow": (
        "INVITATION_REFUND_SECONDS",
        "EXCLUSIVE_WINDOW_SECONDS",
        "SHOW_REFUND_SECONDS",
        "PLATFORM_SHARE",
        "SETTLEMENT_SLICE",
    ),
    "shop": ("PROPOSAL_SECONDS", "SESSION_MAX_SECONDS", "PAYMENT_GATEWAYS", "APP_ORIGIN", "SONET_PAYMENT_TYPE"),
    "rtc-control": (
        "BYTEPLUS_ORIGIN",
        "BYTEPLUS_REGION",
        "BYTEPLUS_VERSION",
        "BYTEPLUS_ROOMS_VERSION",
        "BYTEPLUS_APP_ID",
        "BYTEPLUS_ACCESS_KEY",
        "BYTEPLUS_SECRET_KEY",
        "BYTEPLUS_CALLBACK_SECRETS",
        "BYTEPLUS_SNAPSHOT_STORAGE",
        "BYTEPLUS_CALLS_PER_SECOND",
        "SNAPSHOT_INTERVAL_SECONDS",
    ),
    "nginx": (
        "GATEWAY_ADDRESS_RATE",
        "GATEWAY_ADDRESS_BURST",
        "GATEWAY_TOKEN_RATE",
        "GATEWAY_TOKEN_BURST",
        "GATEWAY_COMMAND_RATE",
        "GATEWAY_COMMAND_BURST",
        "GATEWAY_CONNECTIONS",
        "GATEWAY_HEADER_SECONDS",
        "GATEWAY_BODY_SECONDS",
        "GATEWAY_ANSWER_SECONDS",
        "GATEWAY_TRUSTED_PROXY",
        "CORS_ORIGINS",
    ),
}
# What is there already and cannot be another: a stack with its own soketi would leave this unread.
PUSHER_VARIABLES = (
    "PUSHER_SCHEME",
    "PUSHER_HOST",
    "PUSHER_PORT",
    "PUSHER_CLIENT_HOST",
    "PUSHER_CLIENT_PORT",
    "PUSHER_APP_ID",
    "PUSHER_KEYS",
)
SECRETS = (
    "JWT_KEYS",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "STREAM_TOKEN_KEYS",
    "BYTEPLUS_APP_KEY",
    "BYTEPLUS_ACCESS_KEY",
    "BYTEPLUS_SECRET_KEY",
    "BYTEPLUS_CALLBACK_SECRETS",
    "BYTEPLUS_SNAPSHOT_STORAGE",
)
VARIABLES = tuple(sorted({*EVERY_PROCESS, *EVERY_API, *(name for names in OWN_VARIABLES.values() for name in names)}))


@dataclass(frozen=True, slots=True)
class Settings:
    """One stack. Two stacks with different data directories never meet."""

    data: Path
    port_base: int
    only: tuple[str, ...] = ()
    """The parts to run, by process name; empty means all there are."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of VARIABLES that were set when the stack was started."""
    attached: bool = False
    """Whether the stack ends with whoever started it."""
    workers: Mapping[str, int] = field(default_factory=dict)
    """How many worker processes a service has, if not one."""
    together: bool = False
    """Whether the api of a service is its first worker, too: one process instead of two."""

    def worker_names(self, service: str) -> tuple[str, ...]:
        """The worker processes of a service: `goals-worker`, then `goals-worker-2` and so on."""
        numbers = range(2, self.workers.get(service, 1) + 1)
        return (f"{service}-worker", *(f"{service}-worker-{number}" for number in numbers))

    @property
    def more_workers(self) -> tuple[str, ...]:
        """Those beyond the first of each service."""
        return tuple(name for service in SERVICES for name in self.worker_names(service)[1:])

    def port(self, name: str) -> int:
        """The port of a part; `nginx` is the gateway's. Further workers have theirs from the block's end downwards."""
        if name in PORTS:
            return self.port_base + PORTS.index(name)
        return self.port_base + CLAIM - 1 - self.more_workers.index(name)

    def runs(self, name: str) -> bool:
        """Whether this part was asked for."""
        return not self.only or name in self.only

    def to_json(self) -> str:
        """For the supervisor's standard input and the state file."""
        return json.dumps({**asdict(self), "data": str(self.data)})

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """The inverse of `to_json`."""
        raw = json.loads(text)
        return cls(**{**raw, "data": Path(raw["data"]), "only": tuple(raw["only"])})

    def differences(self, other: "Settings") -> list[str]:
        """One line for each thing in which `other` (wanted) differs from this (running)."""
        lines = []
        if self.port_base != other.port_base:
            lines.append(f"port base: {self.port_base} runs, {other.port_base} is wanted")
        if set(self.only) != set(other.only):
            lines.append(f"parts: {', '.join(self.only) or 'all'} run, {', '.join(other.only) or 'all'} are wanted")
        lines += [
            f"workers of {name}: {runs} run, {wanted} are wanted"
            for name in SERVICES
            if (runs := self.workers.get(name, 1)) != (wanted := other.workers.get(name, 1))
        ]
        if self.together != other.together:
            how = {True: "together", False: "apart"}
            lines.append(f"api and worker: {how[self.together]} they run, {how[other.together]} they are wanted")
        for name in VARIABLES:
            mine, theirs = self.variables.get(name), other.variables.get(name)
            if mine != theirs:
                lines.append(f"{name}: {_shown(name, mine)} runs, {_shown(name, theirs)} is wanted")
        return lines


def _shown(name: str, value: str | None) -> str:
    if value is None:
        return "(not set)"
    return "(another secret)" if name in SECRETS else repr(value)


def package(service: str) -> str:
    """The import package of a service."""
    return service.replace("-", "_")


def data_directory(given: str | Path | None) -> Path:
    """The directory of the stack that is meant: as given, else `DEVSTACK_DATA`, else `.devstack` in the checkout."""
    return Path(given or os.environ.get("DEVSTACK_DATA") or DEFAULT_DATA).resolve()


def handed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """What of the environment the parts of a stack will read."""
    return {name: environ[name] for name in VARIABLES if name in environ}


def require_own_pusher(environ: Mapping[str, str]) -> None:
    """Raise StackError if another Pusher is wanted than the stack's own, which would be ignored."""
    if wanted := [name for name in PUSHER_VARIABLES if environ.get(name)]:
        raise StackError(f"{', '.join(wanted)}: a stack has a Pusher of its own, soketi, with demo keys: unset it")


def base_environment() -> dict[str, str]:
    """What of our own environment every part gets."""
    return {name: os.environ[name] for name in BASE_VARIABLES if name in os.environ}


def release() -> str:
    """What the checkout is, for people: its last tag and how far it is from there, or its commit."""
    command = ("git", "-C", str(CHECKOUT), "describe", "--tags", "--always")
    try:
        done = subprocess.run(command, env=base_environment(), capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return "unknown"
    return done.stdout.strip() or "unknown"  # or it is no checkout


def stored_port_base(data: Path) -> int | None:
    """The base that the data here is bound to, if any: mongod's replica set knows itself by its port."""
    try:
        return int(json.loads((data / "ports.json").read_text())["port_base"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(
            f"{data / 'ports.json'} is damaged ({error}): remove {data} to start with empty data"
        ) from error


@contextmanager
def decided_port_base(data: Path, wanted: int | None) -> Iterator[int]:
    """The base for this data directory. The first decision is stored and holds for as long as the data.

    Meanwhile the stack can come up: a base that was chosen here is chosen by nobody else.
    Raises StackError when another base is wanted than the data is bound to.
    """
    stored = stored_port_base(data)
    if stored is not None:
        if wanted not in (None, stored):
            raise StackError(
                f"{data} is bound to port base {stored}, and {wanted} is wanted: "
                "use another data directory (--data), or run `devstack down` and remove this one"
            )
        yield stored
        return
    with ExitStack() as claim:
        base = wanted if wanted is not None else _free_base(data, claim)
        if not UNPRIVILEGED <= base <= 65_536 - BLOCK:
            raise StackError(f"port base {base} is out of range: {UNPRIVILEGED} to {65_536 - BLOCK}")
        data.mkdir(parents=True, exist_ok=True)
        data.chmod(0o700)  # it holds the services' settings, keys among them
        (data / "ports.json").write_text(json.dumps({"port_base": base}))
        yield base


def _free_base(data: Path, claim: ExitStack) -> int:
    if data == DEFAULT_DATA and _is_free_block(DEFAULT_PORT_BASE, claim):
        return DEFAULT_PORT_BASE
    # Below the kernel's ephemeral range: an outgoing connection can never sit on one of our ports while we restart.
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    bases = list(range(min(20_000, ephemeral - 100 * BLOCK), ephemeral - BLOCK, BLOCK))
    random.shuffle(bases)  # stacks that start at the same moment should not all try the same block
    for base in bases:
        if _is_free_block(base, claim):
            return base
    raise StackError(f"no {BLOCK} free ports in a row below {ephemeral}: name some with --port-base")


def _is_free_block(base: int, claim: ExitStack) -> bool:
    """Whether nobody listens there; then `claim` keeps the last port of the block, which others find taken."""
    with ExitStack() as attempt:
        last = attempt.enter_context(closing(socket.socket()))
        try:
            last.bind(("127.0.0.1", base + CLAIM))
        except OSError:
            return False
        if not all(is_free(port) for port in range(base, base + CLAIM)):
            return False
        claim.push(attempt.pop_all())
        return True


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback now."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: closing connections are no hindrance
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
