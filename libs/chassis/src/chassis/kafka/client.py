"""A client of the broker, with a bound on everything: aiokafka's own retries have none."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from chassis.runtime.logs import reason
from chassis.runtime.settings import ChassisSettings

START_SECONDS = 5.0
STOP_SECONDS = 2.0
REQUEST_MILLISECONDS = 5_000

_log = structlog.get_logger(__name__)


async def open_client(settings: ChassisSettings) -> AIOKafkaClient:
    """A client that knows the brokers.

    Raises:
        KafkaError: no broker answers.
        TimeoutError: none did in time.
    """
    servers, security = settings.kafka_bootstrap, settings.kafka_security
    client = AIOKafkaClient(bootstrap_servers=servers, request_timeout_ms=REQUEST_MILLISECONDS, **security)
    try:
        async with asyncio.timeout(START_SECONDS):
            await client.bootstrap()
    except BaseException as error:
        await close_client(client)
        if isinstance(error, KafkaConnectionError) and (why := await why_refused(settings)):
            raise KafkaConnectionError(why) from error
        raise
    return client


@asynccontextmanager
async def open_admin(settings: ChassisSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for topics.

    Raises:
        KafkaError: no broker answers.
        TimeoutError: none did in time.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap, **settings.kafka_security)
    try:
        try:
            async with asyncio.timeout(START_SECONDS):
                await admin.start()
        except KafkaConnectionError as error:
            if why := await why_refused(settings):
                raise KafkaConnectionError(why) from error
            raise
        yield admin
    finally:
        await admin.close()


async def why_refused(settings: ChassisSettings) -> str | None:
    """Which setting is wrong, if a broker is there and does not let us in: aiokafka tells its logger alone."""
    for host, port, _ in collect_hosts(settings.kafka_bootstrap):
        try:
            async with asyncio.timeout(START_SECONDS):
                connection = await create_conn(
                    host, port, request_timeout_ms=REQUEST_MILLISECONDS, **settings.kafka_security
                )
        except (SaslAuthenticationFailed, AuthenticationFailedError):
            return "the broker refuses KAFKA_SASL_USERNAME with KAFKA_SASL_PASSWORD"
        except UnsupportedSaslMechanismError:
            return f"the broker does not know KAFKA_SASL_MECHANISM={settings.kafka_sasl_mechanism}"
        except ssl.SSLCertVerificationError as error:
            return f"the broker's certificate is not believed, see KAFKA_SSL_CA_FILE: {error.verify_message}"
        except (ssl.SSLError, ConnectionError, TimeoutError, OSError, KafkaError) as error:
            _log.debug("broker not reached", host=host, port=port, error=repr(error))
        else:
            connection.close()
    return None


async def close_client(client: AIOKafkaClient) -> None:
    """Close `client`, whatever state it is in."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await client.close()
    except (TimeoutError, KafkaError, OSError) as error:
        _log.warning("Kafka's client not closed", error=reason(error))
