"""Servers that ask who one is and show who they are: Kafka by SASL over TLS, MongoDB by TLS, with certificates."""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from aiokafka.errors import KafkaConnectionError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import APIRouter

from chassis import ids
from chassis.kafka.client import open_admin, open_client
from chassis.kafka.gaps import accept_loss
from chassis.outbox.model import OUTBOX
from chassis.outbox.relay import Relay
from chassis.runtime.settings import ChassisSettings
from chassis.service import Service, on
from chassis.storage.mongo import Driver, Mongo, PyMongoError
from chassis.storage.tx import Tx
from chassis_testing import tallies
from chassis_testing.kafka import KafkaHarness, kafka_harness
from chassis_testing.service import DEMO
from contracts import ViewerBlockedV1
from devstack.brokers import Brokers
from devstack.tools import mongod

Eventually = Callable[..., Awaitable[None]]
Doing = Callable[..., AbstractAsyncContextManager[None]]

USER, PASSWORD = "footlights", "demo-password-of-the-tests"


async def count(event: ViewerBlockedV1, tx: Tx) -> None:
    await tallies.count(event, tx)
    tx.publish_raw("sessions.dlq", event.streamer_id, b"told", {})


SERVICE = Service("sessions", APIRouter(), handlers=(on(ViewerBlockedV1, count),), collections=(tallies.TALLIES,))


class Authority:
    """Issues certificates, each in a PEM file with its key."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._issue(self._name, self._key.public_key()).add_extension(basic, critical=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self._signed(certificate))

    def certificate(self, name: str) -> Path:
        """For a server on loopback, or a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = self._issue(subject, key.public_key()).add_extension(loopback, critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._folder / f"{name}.pem"
        file.write_bytes(private + self._signed(certificate))
        return file

    def _issue(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(subject_name=subject, issuer_name=self._name, public_key=key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def _signed(self, certificate: x509.CertificateBuilder) -> bytes:
        return certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Guarded:
    """A broker that lets nobody in without a name, a password and a certificate."""

    bootstrap: str
    env: dict[str, Any]

    def settings(self, **other: Any) -> ChassisSettings:
        return ChassisSettings(**{**DEMO, "kafka_bootstrap": self.bootstrap, **self.env, **other})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder, "authority")
    broker, client = authority.certificate("broker"), authority.certificate("client")
    env = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": PASSWORD,
        "kafka_ssl_ca_file": authority.file,
        "kafka_ssl_certificate_file": client,
    }
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    known = f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}"'
    properties = {
        "listeners": "SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": "SASL_SSL://127.0.0.1:{port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
        "inter.broker.listener.name": "SASL_SSL",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{plain} {known};",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "listener.name.sasl_ssl.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(broker),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
    }
    scram = ("--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]")
    security = ChassisSettings(**{**DEMO, **env}).kafka_security
    with Brokers(folder / "brokers", 1, properties, formatting=scram, security=security) as brokers:
        yield Guarded(brokers.bootstrap, env)


@pytest.fixture
async def harness(mongo: Mongo, guarded: Guarded, namespace: str) -> AsyncIterator[KafkaHarness]:
    async with kafka_harness(SERVICE, mongo, guarded.bootstrap, namespace, **guarded.env) as harness:
        yield harness


async def test_topics_are_made_events_published_and_heard_over_tls_under_a_name(
    harness: KafkaHarness, doing: Doing, eventually: Eventually
) -> None:
    event = ViewerBlockedV1(streamer_id=ids.new_id(), viewer_id=ids.new_id())
    await harness.publish(event)

    async with doing(harness.consumer(), Relay(harness.runtime, harness.settings)):
        await eventually(lambda: harness.documents(tallies.TALLIES.name), seconds=30)
        await eventually(lambda: _is_empty(harness), seconds=30)

    [tally] = await harness.documents(tallies.TALLIES.name)
    assert tally["handled"] == [event.viewer_id]
    [position] = [row["_id"] for row in await harness.documents("positions") if row["offset"]]
    assert await accept_loss(harness.runtime, harness.settings, position) == (1, 1)


async def _is_empty(harness: KafkaHarness) -> bool:
    return not await harness.documents(OUTBOX.name)


async def test_plain_does_too(guarded: Guarded) -> None:
    async with open_admin(guarded.settings(kafka_sasl_mechanism="PLAIN")) as admin:
        assert isinstance(await admin.list_topics(), list)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kafka_sasl_password": "another"}, "KAFKA_SASL_PASSWORD"),
        ({"kafka_sasl_mechanism": "SCRAM-SHA-256"}, "KAFKA_SASL_MECHANISM=SCRAM-SHA-256"),
        ({"kafka_ssl_ca_file": None}, "KAFKA_SSL_CA_FILE"),
    ],
)
async def test_who_is_not_let_in_learns_by_which_setting(guarded: Guarded, wrong: dict[str, Any], named: str) -> None:
    settings = guarded.settings(**wrong)

    with pytest.raises(KafkaConnectionError, match=named):
        await open_client(settings)
    with pytest.raises(KafkaConnectionError, match=named):
        async with open_admin(settings):
            pass


async def test_the_certificate_of_another_authority_is_not_believed(guarded: Guarded, tmp_path: Path) -> None:
    with pytest.raises(KafkaConnectionError, match="not believed, see KAFKA_SSL_CA_FILE"):
        await open_client(guarded.settings(kafka_ssl_ca_file=Authority(tmp_path, "another").file))


@pytest.fixture
async def mongod_url(tmp_path: Path) -> AsyncIterator[str]:
    """A server that takes nobody without a certificate of its authority."""
    authority = Authority(tmp_path, "authority")
    server, client = authority.certificate("server"), authority.certificate("client")
    data = tmp_path / "data"
    data.mkdir()
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(mongod(), "--dbpath", data, "--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket", "--quiet"),
        *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", server, "--tlsCAFile", authority.file),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield f"mongodb://127.0.0.1:{port}/?tls=true&tlsCAFile={authority.file}&tlsCertificateKeyFile={client}"
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_mongodb_is_reached_over_tls_by_its_url(mongod_url: str, driver: Driver) -> None:
    mongo = Mongo(mongod_url, driver, patient=True)
    try:
        assert (await mongo.database("admin").command({"ping": 1}))["ok"] == 1
    finally:
        await mongo.close()


@pytest.mark.parametrize("driver", get_args(Driver))
async def test_mongodb_is_not_reached_without_a_certificate_that_it_knows(mongod_url: str, driver: Driver) -> None:
    url = mongod_url.partition("&tlsCertificateKeyFile")[0]
    mongo = Mongo(f"{url}&serverSelectionTimeoutMS=2000", driver)
    try:
        with pytest.raises(PyMongoError):
            await mongo.database("admin").command({"ping": 1})
    finally:
        await mongo.close()
