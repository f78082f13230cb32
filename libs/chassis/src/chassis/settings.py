"""Settings every service reads from its environment. A service's own stand in its `settings.py`."""

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

DEMO_MARK = "demo"  # a demo key says so in its kid, and is refused outside the devstack


class TokenKey(BaseModel):
    """A key for access tokens. The algorithm belongs to the key, never to the token that names it."""

    alg: Literal["HS256", "RS256", "ES256"]
    key: SecretStr


class ChassisSettings(BaseSettings):
    """What any service needs in order to run."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    mongo_url: str
    mongo_driver: Literal["motor", "pymongo"] = "motor"
    kafka_bootstrap: str = ""
    kafka_replication_factor: Annotated[int, Field(ge=1, le=10)] = 1
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,32}$")] = ""
    """Put before names of databases, topics and consumer groups, so that several systems can share servers."""
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 8_000
    devstack: bool = False
    """Whether this is the local stack: only there are demo keys accepted."""
    jwt_keys: Annotated[Mapping[str, TokenKey], Field(min_length=1)]
    jwt_issuer: str = "footlights"
    jwt_audience: str = "footlights"
    unknown_wait_seconds: Annotated[float, Field(ge=0, le=10)] = 2.0
    """How long a command waits for the event that makes its session or goal known (SPEC §2)."""
    kafka_session_timeout_seconds: Annotated[float, Field(ge=1, le=60)] = 10.0
    lease_seconds: Annotated[float, Field(ge=0.5, le=60)] = 3.0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otel_exporter_otlp_endpoint: str | None = None
    fault_plan: str | None = None

    @model_validator(mode="after")
    def _no_demo_keys_outside(self) -> "ChassisSettings":
        demo = [kid for kid in self.jwt_keys if DEMO_MARK in kid]
        if demo and not self.devstack:
            raise ValueError(
                f"JWT_KEYS holds the demo key {demo[0]!r}: set real keys, or DEVSTACK=true on a local stack"
            )
        return self

    def scoped(self, name: str) -> str:
        """`name` within the namespace."""
        return f"{self.namespace}-{name}" if self.namespace else name


S = TypeVar("S", bound=BaseSettings)


def load(cls: type[S]) -> S:
    """Read settings from the environment, or leave with a message that names each wrong variable and how to mend it."""
    try:
        return cls()
    except (ValidationError, SettingsError) as error:
        print("The settings in the environment are not usable:", file=sys.stderr)  # noqa: T201 - before logging exists
        for problem in _problems(error, cls):
            print(f"  {problem}", file=sys.stderr)  # noqa: T201 - before logging exists
        print("See .env.example for every variable with its default and unit.", file=sys.stderr)  # noqa: T201 - as above
        raise SystemExit(2) from None


def _problems(error: ValidationError | SettingsError, cls: type[BaseSettings]) -> Iterator[str]:
    if isinstance(error, SettingsError):
        # It comes before anything is validated, and only its message names the field.
        _, name, *_ = str(error).split('"')
        yield f"{name.upper()}: is not JSON"
        return
    for problem in error.errors():
        name = "_".join(str(part) for part in problem["loc"]).upper() or cls.__name__
        yield f"{name}: {problem['msg']}"
