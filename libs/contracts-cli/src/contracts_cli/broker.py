"""Which Kafka is meant, and how it is asked: by the variables that the services have for it, too."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class NoBroker(Exception):
    """Nobody says where Kafka is, or it is not where they say."""


@dataclass(frozen=True, slots=True)
class Broker:
    """One Kafka, and the topics of one deployment on it."""

    bootstrap: str
    namespace: str = ""
    security: Mapping[str, Any] = field(default_factory=dict)
    """For any client of aiokafka."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], bootstrap: str | None, namespace: str | None) -> "Broker":
        """The broker that is meant: as given, else as the variables say.

        Raises:
            NoBroker: neither says where it is.
        """
        where = bootstrap or environ.get("KAFKA_BOOTSTRAP")
        if not where:
            raise NoBroker("where is Kafka? Give --bootstrap, or set KAFKA_BOOTSTRAP")
        return cls(where, namespace if namespace is not None else environ.get("NAMESPACE", ""), _security(environ))

    @property
    def client(self) -> dict[str, Any]:
        """The settings of any client of aiokafka."""
        return {"bootstrap_servers": self.bootstrap, **self.security}

    def scoped(self, topic: str) -> str:
        """The name of a topic in this deployment."""
        return f"{self.namespace}-{topic}" if self.namespace else topic


def _security(environ: Mapping[str, str]) -> dict[str, Any]:
    protocol = environ.get("KAFKA_SECURITY_PROTOCOL") or "PLAINTEXT"
    told: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        told["ssl_context"] = ssl.create_default_context(cafile=environ.get("KAFKA_SSL_CA_FILE") or None)
        if certificate := environ.get("KAFKA_SSL_CERTIFICATE_FILE"):
            told["ssl_context"].load_cert_chain(certificate, environ.get("KAFKA_SSL_KEY_FILE") or None)
    if protocol.startswith("SASL"):
        told["sasl_mechanism"] = environ.get("KAFKA_SASL_MECHANISM") or "SCRAM-SHA-512"
        told["sasl_plain_username"] = environ.get("KAFKA_SASL_USERNAME")
        told["sasl_plain_password"] = environ.get("KAFKA_SASL_PASSWORD")
    return told
