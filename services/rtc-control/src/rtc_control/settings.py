"""rtc-control's own variables: where BytePlus is, and the keys shared with it."""

from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import from_json
from pydantic_settings import BaseSettings, SettingsConfigDict

from byteplus.client import Account
from byteplus.limits import Limits
from byteplus.signing import Credentials
from chassis.runtime.settings import is_demo

Secret = Annotated[SecretStr, Field(min_length=1)]


class Settings(BaseSettings):
    """BytePlus RTC, or a server that speaks its protocol."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    byteplus_origin: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?$")] = (
        "https://open.byteplusapi.com"
    )
    """Scheme, host and port of its API. `http` on a local stack only."""
    byteplus_region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,50}$")] = "ap-singapore-1"
    """What requests to that host are signed for."""
    byteplus_version: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] = "2022-06-01"
    """Of the snapshot actions; the only one that BytePlus documents."""
    byteplus_rooms_version: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] = "2023-11-01"
    """Of the actions that put people out of rooms."""
    byteplus_app_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]{24}$")]
    byteplus_access_key: Secret
    byteplus_secret_key: Secret
    byteplus_callback_secrets: Annotated[tuple[Secret, ...], Field(min_length=1)]
    """What callbacks are signed with; all verify."""
    byteplus_snapshot_storage: SecretStr
    """JSON: the API's `StorageConfig`, where pictures go. The vendor starts nothing without."""
    byteplus_calls_per_second: Annotated[float, Field(ge=1, le=1_000)] = 150
    """Starts and stops together, of the whole account: what the vendor allows."""
    snapshot_interval_seconds: Annotated[int, Field(ge=1, le=600)] = 60
    """From one picture of a source to the next."""
    devstack: bool = False
    """Whether this is the local stack: only there are demo secrets and plain HTTP accepted."""

    @field_validator("byteplus_snapshot_storage")
    @classmethod
    def _an_object(cls, value: SecretStr) -> SecretStr:
        storage = from_json(value.get_secret_value())
        if not isinstance(storage, dict) or not storage:
            raise ValueError("must be a JSON object, and not an empty one")
        return value

    @model_validator(mode="after")
    def _nothing_local_outside(self) -> "Settings":
        if self.devstack:
            return self
        if any(is_demo(secret) for secret in (self.byteplus_secret_key, *self.byteplus_callback_secrets)):
            raise ValueError(
                "BYTEPLUS_SECRET_KEY or BYTEPLUS_CALLBACK_SECRETS is a demo secret: only for DEVSTACK=true"
            )
        if self.byteplus_origin.startswith("http:"):
            raise ValueError("BYTEPLUS_ORIGIN is http: only for DEVSTACK=true, on a local stack")
        return self

    @property
    def account(self) -> Account:
        """Our app of the vendor's, and how it is called."""
        credentials = Credentials(
            self.byteplus_access_key.get_secret_value(),
            self.byteplus_secret_key.get_secret_value(),
            self.byteplus_region,
        )
        return Account(
            self.byteplus_app_id,
            credentials,
            self.byteplus_origin,
            self.byteplus_version,
            self.byteplus_rooms_version,
            Limits(snapshots=self.byteplus_calls_per_second),
        )

    @property
    def storage(self) -> dict[str, Any]:
        """Where pictures go, as the API takes it."""
        found: dict[str, Any] = from_json(self.byteplus_snapshot_storage.get_secret_value())
        return found
