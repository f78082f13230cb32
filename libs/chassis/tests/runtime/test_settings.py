"""Settings: what is weak, published or meant for tests is refused, and no refusal repeats a secret."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import ValidationError

from chassis.runtime.settings import ApiSettings

SECRET = "a-secret-of-at-least-thirty-two-bytes"
SPKI = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
WEAK_RSA = rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - so that it is refused
EC_PUBLIC = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*SPKI).decode()
LOGIN = {"kafka_sasl_username": "me", "kafka_sasl_password": "hush"}
TLS = {"kafka_security_protocol": "SSL"}
DEVSTACK_KEY = "demo-key-of-the-devstack-accepted-nowhere-else"


def made(**changes: Any) -> ApiSettings:
    given: dict[str, Any] = {"mongo_url": "mongodb://mongo", "jwt_keys": {"k": {"alg": "HS256", "key": SECRET}}}
    return ApiSettings(**given | changes)


def key(text: str, alg: str = "HS256", kid: str = "prod-1") -> dict[str, Any]:
    return {"jwt_keys": {"k": {"alg": "HS256", "key": SECRET}, kid: {"alg": alg, "key": text}}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (key(DEVSTACK_KEY), "demo key"),
        (key(DEVSTACK_KEY, kid="DEMO-1"), "demo key"),
        (key(DEVSTACK_KEY.upper()), "demo key"),
        (key("a-demo-key-of-at-least-thirty-two-bytes"), "demo key"),
        (key("a"), "shorter than the 32 bytes"),
        (key("changeme"), "shorter than the 32 bytes"),
        (key(""), "JWT_KEYS"),
        (key("x" * 31), "shorter than the 32 bytes"),
        (key(WEAK_RSA.public_key().public_bytes(*SPKI).decode(), "RS256"), "shorter than the 2048 bits"),
        (
            key(WEAK_RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), "RS256"),
            "shorter than the 2048 bits",
        ),
        (key("-----BEGIN PUBLIC KEY-----\nhush\n-----END PUBLIC KEY-----", "RS256"), "is no key for RS256"),
        (key(EC_PUBLIC, "RS256"), "is no key for RS256"),
        (key(EC_PUBLIC, "HS256"), "is no key for HS256"),
        (key(SECRET, "ES256"), "is no key for ES256"),
        ({"fault_plan": '{"relay.after_publish": {"action": "kill"}}'}, "FAULT_PLAN"),
        ({"clock_ahead_file": "/dev/zero"}, "CLOCK_AHEAD_FILE is followed on a local stack only"),
        ({"kafka_security_protocol": "TLS"}, "kafka_security_protocol"),
        ({"kafka_security_protocol": "SASL_SSL"}, "needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"),
        (LOGIN, "KAFKA_SASL_USERNAME is used with SASL_SSL only"),
        (
            LOGIN | {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN"},
            "KAFKA_SASL_MECHANISM=PLAIN",
        ),
        (LOGIN | {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "GSSAPI"}, "kafka_sasl_mechanism"),
        ({"kafka_ssl_ca_file": __file__}, "KAFKA_SSL_CA_FILE: used with SSL only"),
        (TLS | {"kafka_ssl_ca_file": "/nowhere"}, "KAFKA_SSL_CA_FILE: No such file"),
        (TLS | {"kafka_ssl_ca_file": __file__}, "KAFKA_SSL_CA_FILE: holds no certificate"),
        (TLS | {"kafka_ssl_certificate_file": __file__}, "KAFKA_SSL_CERTIFICATE_FILE"),
        (TLS | {"kafka_ssl_key_file": __file__}, "KAFKA_SSL_KEY_FILE: its certificate is missing"),
        ({"mongo_url": "mongodb://user:hu/sh@mongo"}, "is no mongodb"),
        ({"mongo_url": "mongodb://user:hu@sh@mongo"}, "is no mongodb"),
        ({"mongo_url": "user:hush@mongo"}, "is no mongodb"),
        ({"mongo_url": "mongodb+srv://user:hush/mongo:x"}, "is no mongodb"),
    ],
)
def test_what_is_weak_published_or_for_tests_is_refused_outside_the_devstack(changes: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says) as refused:
        made(**changes)

    told = str(refused.value)
    assert not any(secret in told for secret in ("hush", "hu/sh", "sh@", DEVSTACK_KEY, SECRET, "changeme"))


def test_the_devstack_has_demo_keys_and_fault_plans_but_no_weak_ones() -> None:
    assert made(**key(DEVSTACK_KEY), devstack=True, fault_plan="{}").devstack
    with pytest.raises(ValidationError, match="shorter"):
        made(**key("demo"), devstack=True)


@pytest.mark.parametrize("url", ["mongodb://u:p%2Fx@a:1,b:2/?replicaSet=rs", "mongodb+srv://u:p@cluster.example/x"])
def test_secrets_are_not_shown(url: str) -> None:
    settings = made(mongo_url=url, otel_exporter_otlp_endpoint="https://u:p@collector")

    assert url not in repr(settings)
    assert "u:p@collector" not in repr(settings)
    assert SECRET not in repr(settings)
