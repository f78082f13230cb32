"""The servers of the stack: for each its command line, its files, and how to see that it is ready."""

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devstack import checks, clock, downloads, tools
from devstack.command import run
from devstack.settings import CHECKOUT, OWN_VARIABLES, SERVICES, Settings, package

REPLICA_SET = "footlights"
KAFKA_CLUSTER_ID = "Zm9vdGxpZ2h0cy1kZXZzdA"  # base64 of "footlights-devst": 16 bytes, as Kafka wants them
PUSHER_APP_ID = "1001"  # digits only: the Pusher library refuses anything else
PUSHER_KEY = "demo-key-of-the-devstack"
PUSHER_SECRET = "demo-secret-of-the-devstack"  # noqa: S105 - a demo secret, accepted on local stacks only
# Of each family whose listeners are counted, the events that soketi knows. Anybody can listen to whatever other name
# they like: of that it tells nobody.
WEBHOOKS = (
    ("private-stream@", ("channel_occupied", "channel_vacated")),
    ("presence-stream@", ("member_added", "member_removed")),
    ("presence-stream-viewer@", ("member_added", "member_removed")),
    ("presence-enc-stream-viewer@", ("member_added", "member_removed")),
)

# What the servers are told wherever they run: as processes of the stack, or in containers (`containers.py`).
MONGOD_OPTIONS = (
    *("--replSet", REPLICA_SET, "--oplogSize", "512"),
    *("--wiredTigerCacheSizeGB", "0.25", "--noscripting", "--quiet"),
    # A frozen process holds its locks no longer.
    *("--setParameter", "transactionLifetimeLimitSeconds=5"),
    # What is deleted is gone as soon, and not 5 minutes later: whoever looks for the oldest row of an outbox walks over
    # all that were deleted before it.
    *("--setParameter", "minSnapshotHistoryWindowInSeconds=5"),
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),
)
KAFKA_PROPERTIES: Mapping[str, str | int] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    # What the guarantees rest on.
    "auto.create.topics.enable": "false",
    "log.message.timestamp.type": "LogAppendTime",  # a producer's clock must not be able to stop its partition
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1_000,  # tests want a dead consumer noticed soon
    # One broker on a small machine. After a kill -9 it cannot register before its session is over (default 9 s).
    "broker.session.timeout.ms": 4_000,
    "broker.heartbeat.interval.ms": 1_000,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 2,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 2,
    "log.segment.bytes": 64 << 20,
    "log.index.size.max.bytes": 1 << 20,
    "log.cleaner.dedupe.buffer.size": 8 << 20,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
}


async def _nothing() -> None:
    """Most parts need no preparation."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the stack."""

    name: str
    argv: tuple[str, ...]
    ready: checks.Check
    ports: tuple[int, ...]
    """What it will listen on, all on loopback; checked to be free before the start."""
    env: Mapping[str, str] = field(default_factory=dict)
    """What it is told. Of the environment of whoever ran `up` it gets nothing but `BASE_VARIABLES`."""
    prepare: Callable[[], Awaitable[None]] = _nothing
    """Run before each start: files, formatting."""
    ready_seconds: float = 180  # for a machine that does much else besides
    stop_seconds: float = 15
    """From SIGTERM to SIGKILL."""


def mongo_url(settings: Settings) -> str:
    """What clients connect to."""
    return f"mongodb://127.0.0.1:{settings.port('mongod')}/?replicaSet={REPLICA_SET}"


def kafka_bootstrap(settings: Settings) -> str:
    """What clients connect to."""
    return f"127.0.0.1:{settings.port('kafka')}"


def gateway(settings: Settings) -> str:
    """Where the public API is."""
    return f"http://127.0.0.1:{settings.port('nginx')}"


def pusher(settings: Settings) -> dict[str, str | int]:
    """What Pusher's clients and servers need to know."""
    return {
        "host": "127.0.0.1",
        "port": settings.port("soketi"),
        "app_id": PUSHER_APP_ID,
        "key": PUSHER_KEY,
        "secret": PUSHER_SECRET,
    }


def infrastructure(settings: Settings) -> list[Part]:
    """mongod, Kafka, soketi and the sandboxes of vendors, as far as they were asked for."""
    makers = {
        "mongod": _mongod,
        "kafka": _kafka,
        "soketi": _soketi,
        "sandbox": _sandbox,
        "sonet": _sonet,
        "byteplus": _byteplus,
        "wallet": _wallet,
    }
    return [make(settings) for name, make in makers.items() if settings.runs(name)]


def _mongod(settings: Settings) -> Part:
    data = settings.data / "mongod"
    port = settings.port("mongod")

    async def prepare() -> None:
        data.mkdir(parents=True, exist_ok=True)

    argv = (
        str(tools.mongod()),
        *("--dbpath", str(data), "--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"),
        *MONGOD_OPTIONS,
    )
    return Part("mongod", argv, checks.mongod_is_primary(port, REPLICA_SET), (port,), prepare=prepare)


def kafka_java(heap_megabytes: int) -> tuple[str, ...]:
    """The beginning of a command line, for any of Kafka's programs."""
    return (
        "java",
        *(
            f"-Xmx{heap_megabytes}m",
            "-XX:+UseSerialGC",
            "-XX:-UsePerfData",
            "-Djava.awt.headless=true",
            "-Djava.net.preferIPv4Stack=true",
        ),
        f"-Dlog4j2.configurationFile={downloads.HERE / 'kafka' / 'log4j2.yaml'}",
        *("-cp", f"{downloads.kafka_jars()}/*"),
        # The quick compiler only: a stack lives for minutes. Start and 31 500 messages: 7.5 s of CPU, not 15.2.
        "-XX:TieredStopAtLevel=1",
    )


def kafka_format(java: tuple[str, ...], file: Path) -> tuple[str, ...]:
    """The command line that prepares the disk of the broker with these properties."""
    return (*java, "kafka.tools.StorageTool", "format", "-t", KAFKA_CLUSTER_ID, "-c", str(file), "--ignore-formatted")


def _kafka(settings: Settings) -> Part:
    data = settings.data / "kafka"
    port, controller = settings.port("kafka"), settings.port("kafka-controller")
    java = kafka_java(384)
    properties = {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "log.dirs": data / "data",
        **KAFKA_PROPERTIES,
    }
    file = data / "server.properties"

    async def prepare() -> None:
        data.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        if not (data / "data" / "meta.properties").exists():
            await run(kafka_format(java, file))

    return Part(
        "kafka",
        (*java, "kafka.Kafka", str(file)),
        checks.kafka_answers(kafka_bootstrap(settings)),
        (port, controller),
        prepare=prepare,
    )


def _soketi(settings: Settings) -> Part:
    file = settings.data / "soketi" / "config.json"
    port, metrics = settings.port("soketi"), settings.port("soketi-metrics")
    app = {
        "id": PUSHER_APP_ID,
        "key": PUSHER_KEY,
        "secret": PUSHER_SECRET,
        "enabled": True,
        "enableClientMessages": False,
        "enableUserAuthentication": True,  # who signs in can be cut by name
        "maxConnections": -1,
        "maxBackendEventsPerSecond": -1,
        "maxClientEventsPerSecond": -1,
        "maxReadRequestsPerSecond": -1,
        "webhooks": [
            {
                "url": f"{gateway(settings)}/notify/pusher",
                "event_types": events,
                "filter": {"channel_name_starts_with": prefix},
            }
            for prefix, events in WEBHOOKS
        ],
    }
    config = {
        "host": "127.0.0.1",
        "port": port,
        "metrics.enabled": False,
        "metrics.host": "127.0.0.1",  # it listens even when metrics are off, and on all addresses by default
        "metrics.port": metrics,
        "appManager.array.apps": [app],
        # Pusher's limits, which soketi's defaults exceed tenfold: what passes here must pass there.
        "channelLimits.maxNameLength": 164,
        "eventLimits.maxNameLength": 200,
        "eventLimits.maxPayloadInKb": 10,
        "eventLimits.maxChannelsAtOnce": 100,
        "eventLimits.maxBatchSize": 10,
        "httpApi.requestLimitInMb": 1,
        "presence.maxMembersPerChannel": 100,
        # In production who does not sign in is cut (*authorized connections*). Here anybody may try a channel by hand.
        "userAuthenticationTimeout": 86_400_000,  # milliseconds
        "webhooks.batching.enabled": True,
        "webhooks.batching.duration": 250,  # milliseconds: many who come at once are one delivery
        "shutdownGracePeriod": 100,  # milliseconds; the default of 3 s is for load balancers
    }

    async def prepare() -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(config, indent=2))

    return Part(
        "soketi",
        ("node", str(downloads.HERE / "node" / "soketi.cjs"), "start", f"--config={file}"),
        checks.http_answers(port, "/ready"),
        (port, metrics),
        env={"NODE_PATH": str(downloads.node_modules()), "AWS_SDK_JS_SUPPRESS_MAINTENANCE_MODE_MESSAGE": "1"},
        prepare=prepare,
        stop_seconds=5,
    )


def _sandbox(settings: Settings) -> Part:
    port = settings.port("sandbox")
    argv = (sys.executable, "-m", "devstack.sandbox", str(port))
    ready, env = checks.http_answers(port, "/"), clock.with_clock({}, settings.data)
    return Part("sandbox", argv, ready, (port,), env, stop_seconds=5)


def _sonet(settings: Settings) -> Part:
    port = settings.port("sonet")
    argv = (sys.executable, "-m", "devstack.sonet", str(port))
    return Part("sonet", argv, checks.http_answers(port, "/"), (port,), stop_seconds=5)


def _byteplus(settings: Settings) -> Part:
    port = settings.port("byteplus")
    argv = (sys.executable, "-m", "devstack.byteplus_sandbox", str(port), f"{gateway(settings)}/notify/byteplus")
    ready, env = checks.http_answers(port, "/sandbox"), clock.with_clock({}, settings.data)
    return Part("byteplus", argv, ready, (port,), env, stop_seconds=5)


def _wallet(settings: Settings) -> Part:
    port = settings.port("wallet")
    return Part(
        "wallet",
        (sys.executable, "-m", "devstack.wallet", str(port)),
        checks.http_answers(port, "/"),
        (port,),
        stop_seconds=5,
    )


LOCAL_GATEWAY: Mapping[str, str] = {
    # One address is everybody here, a bench or all tests: limits that nobody meets.
    "GATEWAY_ADDRESS_RATE": "100000r/s",
    "GATEWAY_ADDRESS_BURST": "100000",
    "GATEWAY_TOKEN_RATE": "100000r/s",
    "GATEWAY_TOKEN_BURST": "100000",
    "GATEWAY_COMMAND_RATE": "100000r/s",
    "GATEWAY_COMMAND_BURST": "100000",
    "GATEWAY_CONNECTIONS": "4096",
    "GATEWAY_HEADER_SECONDS": "10",
    "GATEWAY_BODY_SECONDS": "15",
    "GATEWAY_ANSWER_SECONDS": "10",
    "GATEWAY_TRUSTED_PROXY": "unix:",  # nobody: there is no such socket
    "CORS_ORIGINS": "loopback",
}


def nginx(settings: Settings) -> Part:
    """The gateway. One process (no master): killing it leaves nobody listening."""
    folder = settings.data / "nginx"
    file = folder / "nginx.conf"
    variables = {f"{package(name).upper()}_API": f"127.0.0.1:{settings.port(f'{name}-api')}" for name in SERVICES}
    variables["GATEWAY_DOCUMENT"] = str(CHECKOUT / "docs" / "openapi.json")
    variables["GATEWAY_PAGES"] = str(CHECKOUT / "deploy" / "gateway" / "pages")
    variables["GATEWAY_LISTEN"] = f"127.0.0.1:{settings.port('nginx')}"
    variables |= {**LOCAL_GATEWAY} | {
        name: settings.variables[name] for name in OWN_VARIABLES["nginx"] if name in settings.variables
    }

    async def prepare() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        routes = (CHECKOUT / "deploy" / "gateway" / "routes.conf.template").read_text()
        for name, value in variables.items():
            routes = routes.replace(f"${{{name}}}", value)
        (folder / "routes.conf").write_text(routes)
        local = folder / "local"
        local.mkdir(exist_ok=True)
        (local / "stage.conf").write_text(_STAGE_CONF % settings.port("stage") if settings.runs("stage") else "")
        file.write_text(_NGINX_CONF)

    return Part(
        "nginx",
        (tools.nginx(), "-p", f"{folder}/", "-c", str(file), "-e", "stderr"),
        checks.http_answers(settings.port("nginx"), "/", 404),
        (settings.port("nginx"),),
        prepare=prepare,
    )


# What the gateway serves of a local stack alone: its template names the folder, and nothing that is in it.
_STAGE_CONF = """\
location = /stage { absolute_redirect off; return 308 /stage/; }
location /stage/ {
    proxy_pass http://127.0.0.1:%d;
    proxy_buffering off;  # events are there when they come
}
"""

_NGINX_CONF = """\
daemon off;
master_process off;
error_log stderr warn;
pid nginx.pid;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include routes.conf;
}
"""
