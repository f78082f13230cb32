"""What Pusher tells us: somebody came, somebody went."""

from datetime import timedelta
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chassis.clock import from_unix
from chassis.errors import Forbidden
from chassis.http import RawBody, TxDep, TxRouter, invalid
from chassis.http.bodies import UNIX_SECONDS_MAX
from notifier import store
from notifier.domain import heads
from notifier.gateway import signatures
from notifier.settings import Settings

LATE_MAX = timedelta(minutes=10)  # Pusher tries a delivery again for five
EARLY_MAX = timedelta(minutes=1)  # its clock is another one

router = TxRouter(tags=["vendors"])


class SignatureInvalid(Forbidden, slug="signature-invalid"):
    """The body is not signed with a key that is shared with us."""


class DeliveryStale(Forbidden, slug="delivery-stale"):
    """This was signed too long ago."""


class Happened(BaseModel):
    """One thing that happened on a channel."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    name: str
    channel: str = ""


class Delivery(BaseModel):
    """One webhook: what happened since the last one, and when it was signed, in Unix milliseconds."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    time_ms: Annotated[int, Field(ge=0, le=UNIX_SECONDS_MAX * 1_000)]
    events: tuple[Happened, ...]


@router.post("/notify/pusher", status_code=204, public=True, refuses=(SignatureInvalid, DeliveryStale))
async def hear_pusher(
    body: RawBody,
    tx: TxDep,
    key: Annotated[str, Header(alias="X-Pusher-Key")] = "",
    signature: Annotated[str, Header(alias="X-Pusher-Signature")] = "",
) -> None:
    """Take a webhook of Pusher: whose viewers came or went is counted anew, soon. Said again, it changes nothing."""
    if not signatures.is_pushers(tx.settings(Settings), key, signature, body):
        raise SignatureInvalid
    try:
        delivery = Delivery.model_validate_json(body)
    except ValidationError:
        raise invalid("body", "must be a webhook") from None
    if not -EARLY_MAX <= tx.machine_now - from_unix(delivery.time_ms / 1_000) <= LATE_MAX:
        raise DeliveryStale
    streamers = heads.streamers_of((one.name, one.channel) for one in delivery.events)
    for head_count in await store.head_counts(tx, streamers):
        tx.apply(store.HEAD_COUNTS, heads.hinted(head_count, tx.now))
