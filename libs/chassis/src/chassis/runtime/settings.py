"""Settings every service reads from its environment. A service's own stand in its `settings.py`."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from jwt import PyJWTError
from jwt.algorithms import get_default_algorithms
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from chassis.runtime.kafka_security import KafkaSecurity
from chassis.storage.mongo import is_url

DEMO_MARK = "demo"  # published keys and secrets say so in themselves, and are refused outside the devstack
HS256_BYTES_MIN = 32  # RFC 7518 §3.2: as long as the hash
RSA_BITS_MIN = 2_048  # RFC 7518 §3.3
KEYS_FILE_BYTES_MAX = 256 * 1024  # a hundred keys and more


def is_demo(secret: SecretStr) -> bool:
    """Whether `secret` is one that anybody can read in a repository."""
    return DEMO_MARK in secret.get_secret_value().lower()


class TokenKey(BaseModel):
    """A key for access tokens. The algorithm belongs to the key, never to the token that names it."""

    alg: Literal["HS256", "RS256", "ES256"]
    key: SecretStr

    def prepared(self) -> Any:
        """What PyJWT verifies with; of a private key its public half.

        Raises:
            ValueError: it is no key for this algorithm, or a weak one. Says nothing of the key itself.
        """
        text = self.key.get_secret_value()
        try:
            key = get_default_algorithms()[self.alg].prepare_key(text)
        except (PyJWTError, TypeError, ValueError):
            raise ValueError(f"is no key for {self.alg}") from None
        if self.alg == "HS256" and len(text.encode()) < HS256_BYTES_MIN:
            raise ValueError(f"is shorter than the {HS256_BYTES_MIN} bytes of a key for HS256")
        if isinstance(key, RSAPrivateKey | RSAPublicKey) and key.key_size < RSA_BITS_MIN:
            raise ValueError(f"is shorter than the {RSA_BITS_MIN} bits of a key for RS256")
        return key.public_key() if isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey) else key


_KEYS = TypeAdapter(dict[str, TokenKey])


class ChassisSettings(KafkaSecurity):
    """What any process of any service needs in order to run."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    mongo_url: SecretStr
    mongo_driver: Literal["motor", "pymongo"] = "motor"
    kafka_bootstrap: str = ""
    kafka_replication_factor: Annotated[int, Field(ge=1, le=10)] = 1
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9-]{0,32}$")] = ""
    """Put before names of databases, topics and consumer groups, so that several systems can share servers."""
    http_host: str = "127.0.0.1"
    http_port: Annotated[int, Field(ge=0, le=65_535)] = 8_000
    kafka_session_timeout_seconds: Annotated[float, Field(ge=1, le=60)] = 10.0
    lease_seconds: Annotated[float, Field(ge=0.5, le=60)] = 3.0
    stuck_seconds: Annotated[float, Field(ge=1, le=3_600)] = 60.0
    """How long a part of a process may get nowhere before the process ends; when it blocks all others, half of that."""
    backlog_max: Annotated[int, Field(ge=100)] = 100_000
    """Events, vendor calls, parked messages that may wait, of each; while there are more, nothing more is taken."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    otel_exporter_otlp_endpoint: SecretStr | None = None
    release: Annotated[str, Field(max_length=100)] = "unknown"
    """What runs here, for people and dashboards: a tag, a commit."""
    fault_plan: str | None = None
    clock_ahead_file: Path | None = None
    """How far a local stack has moved its clock ahead, see `chassis.clock.MovedClock`. Nothing else ever names one."""

    @field_validator("mongo_url")
    @classmethod
    def _a_url(cls, url: SecretStr) -> SecretStr:
        if not is_url(url.get_secret_value()):
            raise ValueError("is no mongodb:// or mongodb+srv:// URL; what is special in a password is %-encoded")
        return url

    @model_validator(mode="after")
    def _nothing_of_tests_outside(self) -> "ChassisSettings":
        if self.fault_plan and not self.devstack:
            raise ValueError("FAULT_PLAN is followed on a local stack only, with DEVSTACK=true: unset it")
        if self.clock_ahead_file and not self.devstack:
            raise ValueError("CLOCK_AHEAD_FILE is followed on a local stack only, with DEVSTACK=true: unset it")
        return self

    def scoped(self, name: str) -> str:
        """`name` within the namespace."""
        return f"{self.namespace}-{name}" if self.namespace else name


class ApiSettings(ChassisSettings):
    """What a process that answers HTTP needs besides. No other is told the keys of the tokens."""

    jwt_keys: Mapping[str, TokenKey] = {}
    jwt_keys_file: Path | None = None
    """A file with what is else in JWT_KEYS, and read instead. What changes in it holds without a restart."""
    jwt_issuer: str = "footlights"
    jwt_audience: str = "footlights"
    access_token_seconds_max: Annotated[int, Field(ge=60)] = 86_400
    """How long after it was issued a token may end: whoever has stolen one has it for so long (SPEC §2)."""
    unknown_wait_seconds: Annotated[float, Field(ge=0, le=10)] = 2.0
    """How long a command waits for the event that makes its session or goal known (SPEC §2)."""

    @model_validator(mode="after")
    def _sound_keys(self) -> "ApiSettings":
        self.token_keys()
        return self

    def token_keys(self) -> Mapping[str, TokenKey]:
        """The keys that verify access tokens, by `kid`; those of the file as it is now.

        Raises:
            ValueError: there are none, or one is no key, weak, or published. Says nothing of the keys themselves.
        """
        name, keys = "JWT_KEYS", self.jwt_keys
        if self.jwt_keys_file is not None:
            name, keys = "JWT_KEYS_FILE", _read_keys(self.jwt_keys_file)
        if not keys:
            raise ValueError(f"{name} holds no key")
        for nth, key in enumerate(keys.values(), 1):  # who has put the key for its name has it not shown
            if is_demo(key.key) and not self.devstack:
                raise ValueError(
                    f"{name} holds a demo key as its {nth}.: set real keys, or DEVSTACK=true on a local stack"
                )
            try:
                key.prepared()
            except ValueError as weak:
                raise ValueError(f"{name}: its {nth}. {weak}") from None
        return keys


def _read_keys(path: Path) -> Mapping[str, TokenKey]:
    try:
        with path.open("rb") as file:
            return _KEYS.validate_json(file.read(KEYS_FILE_BYTES_MAX))
    except OSError as error:
        raise ValueError(f"JWT_KEYS_FILE cannot be read: {error.strerror}") from None
    except ValidationError:
        raise ValueError('JWT_KEYS_FILE does not hold {"<kid>": {"alg": …, "key": …}}') from None


_NAMES = frozenset(TokenKey.model_fields)  # of what stands in a variable as JSON

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
    for problem in error.errors(include_input=False, include_context=False, include_url=False):
        variable, *inside = problem["loc"] or (cls.__name__,)
        # What somebody has called a part of it may be the secret itself, in the wrong place.
        names = [str(variable).upper(), *(part for part in inside if part in _NAMES)]
        yield f"{'_'.join(map(str, names)).upper()}: {problem['msg']}"
