"""The notifier's own variables: where Pusher is, and the keys shared with it."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.settings import DEMO_MARK


class Settings(BaseSettings):
    """Pusher Channels, or a server that speaks its protocol."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    pusher_host: str
    pusher_port: Annotated[int, Field(ge=1, le=65_535)]
    pusher_scheme: Literal["http", "https"] = "http"
    """`https` for the vendor's own; a server beside us is reached over plain HTTP."""
    pusher_app_id: Annotated[str, Field(pattern="^[0-9]+$")]
    pusher_keys: Annotated[Mapping[str, SecretStr], Field(min_length=1)]
    """JSON `{key: secret}`; the first one signs, all of them verify."""
    devstack: bool = False
    """Whether this is the local stack: only there are demo keys accepted."""

    @model_validator(mode="after")
    def _no_demo_keys_outside(self) -> "Settings":
        demo = [key for key in self.pusher_keys if DEMO_MARK in key]
        if demo and not self.devstack:
            raise ValueError(
                f"PUSHER_KEYS holds the demo key {demo[0]!r}: set real keys, or DEVSTACK=true on a local stack"
            )
        return self

    @property
    def signing_key(self) -> tuple[str, str]:
        """The key and the secret that sign."""
        key, secret = next(iter(self.pusher_keys.items()))
        return key, secret.get_secret_value()
