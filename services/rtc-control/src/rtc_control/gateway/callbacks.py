"""What BytePlus tells us: signed with SHA-256 over the sorted values and a secret, its nonce in either spelling."""

import hashlib
import hmac
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtc_control.settings import Settings

Text = Annotated[str, Field(max_length=200)]


class Callback(BaseModel):
    """One delivery. `data` is JSON, as a string."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    event_type: Text = Field(alias="EventType")
    data: str = Field(alias="EventData")
    time: Text = Field(alias="EventTime")
    id: Annotated[Text, Field(min_length=1)] = Field(alias="EventId")
    app_id: Text = Field(alias="AppId")
    version: Text = Field(alias="Version")
    nonce: Text = Field(alias="Nonce")
    signature: Text = Field(alias="Signature")

    @model_validator(mode="before")
    @classmethod
    def _either_spelling(cls, given: Any) -> Any:
        """The vendor's pages call the nonce `Noce`, its code `Nonce`, too."""
        return {"Nonce": given["Noce"], **given} if isinstance(given, dict) and "Noce" in given else given


def signature_of(callback: Callback, secret: str) -> str:
    """What the vendor signs such a delivery with."""
    values = (
        callback.event_type, callback.data, callback.time, callback.id, callback.app_id, callback.version,
        callback.nonce, secret,
    )  # fmt: skip
    return hashlib.sha256("".join(sorted(values)).encode()).hexdigest()


def is_vendors(settings: Settings, callback: Callback) -> bool:
    """Whether it is signed with a secret that is shared with us, for our app."""
    if callback.app_id != settings.byteplus_app_id:
        return False
    given = callback.signature.encode()
    known = (signature_of(callback, secret.get_secret_value()) for secret in settings.byteplus_callback_secrets)
    return any(hmac.compare_digest(one.encode(), given) for one in known)
