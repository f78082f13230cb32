"""How a process shows Kafka who it is, and sees whom it talks to."""

import ssl
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_FILES = ("kafka_ssl_ca_file", "kafka_ssl_certificate_file", "kafka_ssl_key_file")


class KafkaSecurity(BaseSettings):
    """The settings of every connection to a broker, by the names that Kafka's own clients have for them."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    devstack: bool = False
    """Whether this is the local stack: only there are demo keys and fault plans accepted."""
    kafka_security_protocol: Protocol = "PLAINTEXT"
    kafka_sasl_mechanism: Mechanism = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_file: Path | None = None
    """Whose certificates of brokers are believed; those of the system by default."""
    kafka_ssl_certificate_file: Path | None = None
    """Our own, with the key in the same file or in the next one."""
    kafka_ssl_key_file: Path | None = None

    @field_validator("kafka_sasl_username", "kafka_sasl_password", *_FILES, mode="before")
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return value or None

    @model_validator(mode="after")
    def _what_is_set_is_used(self) -> "KafkaSecurity":
        protocol, login = self.kafka_security_protocol, (self.kafka_sasl_username, self.kafka_sasl_password)
        if protocol.startswith("SASL"):
            if not all(login):
                raise ValueError(
                    f"KAFKA_SECURITY_PROTOCOL={protocol} needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
                )
        elif any(login):
            raise ValueError(f"KAFKA_SASL_USERNAME is used with SASL_SSL only, and KAFKA_SECURITY_PROTOCOL={protocol}")
        if protocol == "SASL_PLAINTEXT" and self.kafka_sasl_mechanism == "PLAIN" and not self.devstack:
            raise ValueError("KAFKA_SASL_MECHANISM=PLAIN shows the password to the network: use SASL_SSL, or SCRAM")
        if protocol.endswith("SSL"):
            self._tls  # noqa: B018 - files that cannot be used are told of now
        elif files := [name for name in _FILES if getattr(self, name)]:
            names = ", ".join(name.upper() for name in files)
            raise ValueError(f"{names}: used with SSL only, and KAFKA_SECURITY_PROTOCOL={protocol}")
        return self

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        if not self.kafka_security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.kafka_ssl_ca_file)
        except ssl.SSLError:
            raise ValueError("KAFKA_SSL_CA_FILE: holds no certificate") from None
        except OSError as error:
            raise ValueError(f"KAFKA_SSL_CA_FILE: {error.strerror}") from None
        if self.kafka_ssl_certificate_file is not None:
            try:
                context.load_cert_chain(self.kafka_ssl_certificate_file, self.kafka_ssl_key_file, password=_no_password)
            except (OSError, ssl.SSLError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                raise ValueError(f"KAFKA_SSL_CERTIFICATE_FILE with KAFKA_SSL_KEY_FILE: {why}") from None
        elif self.kafka_ssl_key_file is not None:
            raise ValueError("KAFKA_SSL_KEY_FILE: its certificate is missing, KAFKA_SSL_CERTIFICATE_FILE")
        return context

    @property
    def kafka_security(self) -> dict[str, Any]:
        """For any client of aiokafka."""
        password = self.kafka_sasl_password
        return {
            "security_protocol": self.kafka_security_protocol,
            "ssl_context": self._tls,
            "sasl_mechanism": self.kafka_sasl_mechanism,
            "sasl_plain_username": self.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted")
