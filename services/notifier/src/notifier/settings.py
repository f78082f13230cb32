"""The notifier's own variables: where Pusher is, the keys shared with it, and what else clients are told."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.runtime.settings import is_demo

Key = Annotated[str, StringConstraints(min_length=1, max_length=200)]
HOST = r"^[A-Za-z0-9._-]{1,253}$"
Secret = Annotated[SecretStr, Field(min_length=1)]


class Settings(BaseSettings):
    """Pusher Channels, or a server that speaks its protocol."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    pusher_host: Annotated[str, Field(pattern=HOST)]
    """A host alone: whoever puts Pusher's whole URL here puts its secret into every URL."""
    pusher_port: Annotated[int, Field(ge=1, le=65_535)]
    pusher_scheme: Literal["http", "https"] = "https"
    """`http` on a local stack only: what goes to the vendor is what people may pay to see."""
    pusher_client_host: Annotated[str, Field(pattern=HOST)]
    """Where clients connect to: not where we push, unless it is a server of our own."""
    pusher_client_port: Annotated[int, Field(ge=1, le=65_535)] = 443
    pusher_app_id: Annotated[str, Field(pattern="^[0-9]+$")]
    pusher_keys: Annotated[Mapping[Key, Secret], Field(min_length=1)]
    """JSON `{key: secret}`; the first one signs, all of them verify."""
    step_seconds: Annotated[int, Field(ge=1, le=3_600)] = 60
    """The step, as goals and sessions have it: clients are told of it here."""
    devstack: bool = False
    """Whether this is the local stack: only there are demo secrets and plain HTTP accepted."""

    @model_validator(mode="after")
    def _nothing_local_outside(self) -> "Settings":
        if self.devstack:
            return self
        if any(is_demo(secret) for secret in self.pusher_keys.values()):
            raise ValueError("PUSHER_KEYS holds a demo secret: only for DEVSTACK=true, on a local stack")
        if self.pusher_scheme == "http":
            raise ValueError("PUSHER_SCHEME is http: only for DEVSTACK=true, on a local stack")
        return self

    @property
    def signing_key(self) -> tuple[str, str]:
        """The key and the secret that sign."""
        key, secret = next(iter(self.pusher_keys.items()))
        return key, secret.get_secret_value()
