"""Our services as parts of the stack: which the checkout has, how they are started, and what they are told."""

import json
import sys

from devstack import byteplus_sandbox, checks, clock, sandbox, sonet, wallet
from devstack.command import run
from devstack.errors import StackError
from devstack.parts import PUSHER_APP_ID, PUSHER_KEY, PUSHER_SECRET, Part, gateway, kafka_bootstrap, mongo_url
from devstack.settings import (
    CHECKOUT,
    EVERY_API,
    EVERY_PROCESS,
    MORE_WORKERS_MAX,
    OWN_VARIABLES,
    SERVICES,
    Settings,
    package,
    release,
)
from devstack.tokens import DEMO_STREAM_TOKENS, KEYS_FILE

ROLES = ("api", "worker")
MINTERS = {"sessions", "notifier"}  # who lets viewers watch


def chosen(settings: Settings) -> list[str]:
    """The services that this checkout has and of which at least one role was asked for."""
    return [
        name
        for name in SERVICES
        if (CHECKOUT / "services" / name / "src" / package(name) / "__main__.py").exists()
        and any(settings.runs(f"{name}-{role}") for role in ROLES)
    ]


def services(settings: Settings) -> list[Part]:
    """The api and the workers of every service, as far as they were asked for; together, the api is a worker, too."""
    return [
        _service(settings, name, role, part)
        for name in chosen(settings)
        for role, parts in _processes(settings, name).items()
        for part in parts
    ]


def stage(settings: Settings) -> list[Part]:
    """The page to play on, if it was asked for."""
    if not settings.runs("stage"):
        return []
    port = settings.port("stage")
    told = {"STAGE_GATEWAY": gateway(settings), "STAGE_PUSHER": f"ws://127.0.0.1:{settings.port('soketi')}"}
    return [
        Part(
            "stage",
            (sys.executable, "-m", "devstack.stage", str(port)),
            checks.http_answers(port, "/stage/"),
            (port,),
            env={**environment(settings), **told},
            stop_seconds=5,
        )
    ]


def _processes(settings: Settings, name: str) -> dict[str, tuple[str, ...]]:
    """The parts of one service, by their role."""
    api = (f"{name}-api",) if settings.runs(f"{name}-api") else ()
    workers = settings.worker_names(name) if settings.runs(f"{name}-worker") else ()
    return {"all": api, "worker": workers[1:]} if settings.together and api else {"api": api, "worker": workers}


def require_workers(settings: Settings) -> None:
    """Raise StackError when more worker processes are wanted than there can be, or of a service that does not run."""
    running = [name for name in chosen(settings) if settings.runs(f"{name}-worker")]
    if strangers := sorted(settings.workers.keys() - set(running)):
        raise StackError(
            f"--workers: no {', '.join(strangers)} runs here; what runs: {', '.join(running) or 'no service'}"
        )
    if len(settings.more_workers) > MORE_WORKERS_MAX:
        raise StackError(
            f"--workers: a stack has ports for {MORE_WORKERS_MAX} more processes, not {len(settings.more_workers)}"
        )


async def migrate(settings: Settings) -> None:
    """Run `python -m <service> migrate` for all. Raises StackError with what the first that failed has said."""
    packages = [package(name) for name in chosen(settings)]
    if packages:
        await run(
            (sys.executable, "-m", "devstack.migrations", *packages),
            env=environment(settings, *chosen(settings), api=False),
        )


def environment(settings: Settings, *names: str, api: bool = True) -> dict[str, str]:
    """What these services read, and nothing else: what the stack tells them, and what `up` was given for them.

    Who does not answer HTTP (`api` is false) is not told what tokens are signed with.
    """
    read = {*EVERY_PROCESS, *(variable for name in names for variable in OWN_VARIABLES.get(name, ()))}
    read |= set(EVERY_API) if api else set()
    given = {name: value for name, value in settings.variables.items() if name in read}
    keys = {"JWT_KEYS_FILE": str(settings.data / KEYS_FILE)} if api and "JWT_KEYS" not in given else {}
    told = keys | (_told_notifier(settings) if "notifier" in names else {})
    if "shop" in names:
        told |= _told_shop(settings)
    if "escrow" in names:
        told |= _told_escrow(settings)
    if "rtc-control" in names:
        told |= _told_rtc_control(settings)
    if MINTERS & set(names):
        told |= DEMO_STREAM_TOKENS
    return _told_all(settings) | told | given


def _told_all(settings: Settings) -> dict[str, str]:
    return {
        "DEVSTACK": "true",
        clock.VARIABLE: str(clock.file_of(settings.data)),
        "HTTP_HOST": "127.0.0.1",
        "MONGO_URL": mongo_url(settings),
        "KAFKA_BOOTSTRAP": kafka_bootstrap(settings),
        "KAFKA_REPLICATION_FACTOR": "1",
        "PYTHONUNBUFFERED": "1",
        "RELEASE": release(),
    }


def _told_notifier(settings: Settings) -> dict[str, str]:
    """The vendor's keys: nobody else signs."""
    return {
        "PUSHER_SCHEME": "http",
        "PUSHER_HOST": "127.0.0.1",
        "PUSHER_PORT": str(settings.port("soketi")),
        "PUSHER_CLIENT_HOST": "127.0.0.1",
        "PUSHER_CLIENT_PORT": str(settings.port("soketi")),
        "PUSHER_APP_ID": PUSHER_APP_ID,
        "PUSHER_KEYS": json.dumps({PUSHER_KEY: PUSHER_SECRET}),
    }


def _told_escrow(settings: Settings) -> dict[str, str]:
    """The external wallet is a sandbox; a stack without it has none."""
    url = f"http://127.0.0.1:{settings.port('wallet')}" if settings.runs("wallet") else ""
    return {"WALLET_API_URL": url, "WALLET_API_KEY": wallet.KEY}


def _told_shop(settings: Settings) -> dict[str, str]:
    """Money comes in through the sandboxes, if they run at all: nobody pays there.

    Browsers know So-net's by another name than us, as it is another site.
    """
    return {
        "PAYMENT_GATEWAYS": json.dumps(["sandbox", "sonet"]),
        "PUBLIC_ORIGIN": gateway(settings),
        "CHECKOUT_STATE_KEY": "demo-key-of-checkouts-0123456789-0123456789",
        "CHECKOUT_STATE_OTHER_KEYS": "[]",
        "SANDBOX_ORIGIN": f"http://127.0.0.1:{settings.port('sandbox')}",
        "SANDBOX_SECRET": sandbox.SECRET,
        "SONET_MERCHANT_ID": sonet.MERCHANT,
        "SONET_API_ORIGIN": f"http://127.0.0.1:{settings.port('sonet')}",
        "SONET_PAGE_ORIGIN": f"http://localhost:{settings.port('sonet')}",
    }


def _service(settings: Settings, name: str, role: str, part: str) -> Part:
    port = settings.port(part)
    return Part(
        part,
        (sys.executable, "-m", package(name), role),
        checks.http_answers(port, "/readyz"),
        (port,),
        env={**environment(settings, name, api=role != "worker"), "HTTP_PORT": str(port)},
        stop_seconds=12,  # it takes 6 s for what is in hand and 3 s for closes
    )


def _told_rtc_control(settings: Settings) -> dict[str, str]:
    """BytePlus is its sandbox: nobody is photographed there."""
    return {
        "BYTEPLUS_ORIGIN": f"http://127.0.0.1:{settings.port('byteplus')}",
        "BYTEPLUS_REGION": byteplus_sandbox.REGION,
        "BYTEPLUS_APP_ID": byteplus_sandbox.APP_ID,
        "BYTEPLUS_ACCESS_KEY": byteplus_sandbox.ACCESS_KEY,
        "BYTEPLUS_SECRET_KEY": byteplus_sandbox.SECRET_KEY,
        "BYTEPLUS_SNAPSHOT_STORAGE": json.dumps(byteplus_sandbox.STORAGE),
        "BYTEPLUS_CALLBACK_SECRETS": json.dumps([byteplus_sandbox.CALLBACK_SECRET]),
    }
