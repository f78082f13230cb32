"""What an app must know before it can begin."""

from dataclasses import dataclass

from chassis.http import CallerDep, TxDep, TxRouter
from chassis.http.bodies import BODY_BYTES_MAX
from chassis.http.paging import LIMIT_MAX
from contracts.values import GIFTS_MAX, STEPS_MAX
from notifier.api.authorization import BATCH_MAX
from notifier.settings import Settings

router = TxRouter(tags=["realtime"])


@dataclass(frozen=True, slots=True)
class PusherView:
    """What Pusher's clients are made with. Their channels are authorized at `/pusher/auth`, here."""

    key: str
    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class LimitsView:
    """What one request may ask for at most. How often one may ask stands in the header `RateLimit-Policy`."""

    steps: int
    gifts: int
    items: int
    channels: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class ConfigView:
    """What holds for every caller, and only changes when the platform is set up anew."""

    pusher: PusherView
    step_seconds: int
    limits: LimitsView


LIMITS = LimitsView(steps=STEPS_MAX, gifts=GIFTS_MAX, items=LIMIT_MAX, channels=BATCH_MAX, body_bytes=BODY_BYTES_MAX)


@router.get("/config")
async def get_config(
    caller: CallerDep,  # noqa: ARG001 - any signed-in user
    tx: TxDep,
) -> ConfigView:
    """Where to listen, how long a step is, and what one request may ask for.

    A page that reads this from a browser may ask for all else, too: an allowed origin may do whatever its user may.
    """
    settings = tx.settings(Settings)
    key, _ = settings.signing_key
    pusher = PusherView(
        key, settings.pusher_client_host, settings.pusher_client_port, tls=settings.pusher_scheme == "https"
    )
    return ConfigView(pusher, settings.step_seconds, LIMITS)
