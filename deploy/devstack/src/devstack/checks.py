"""Is this part ready? Each check answers False while it is not, and never raises for a server that is not there yet."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

Check = Callable[[], Awaitable[bool]]

ATTEMPT_SECONDS = 5.0  # one question to a server; a busy machine may need a while to answer
NOT_YET_INITIALIZED = 94


def mongod_is_primary(port: int, replica_set: str) -> Check:
    """Mongod takes writes. A server that has never been part of a replica set is told to be one."""

    async def check() -> bool:
        client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(
            "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=int(ATTEMPT_SECONDS * 1_000)
        )
        try:
            hello = await client.admin.command("hello")
            if hello.get("isreplicaset"):  # what mongod says before it has a configuration
                member = {"_id": 0, "host": f"127.0.0.1:{port}"}
                await client.admin.command("replSetInitiate", {"_id": replica_set, "members": [member]})
            return bool(hello.get("isWritablePrimary"))
        except OperationFailure as error:
            if error.code == NOT_YET_INITIALIZED:
                return False
            raise
        except PyMongoError:
            return False
        finally:
            await client.close()

    return check


def kafka_answers(bootstrap: str, security: Mapping[str, Any] | None = None) -> Check:
    """The broker tells its clients where it is, which it does once it is registered and unfenced.

    `security` is for aiokafka, where a broker wants more than to be asked.
    """

    async def check() -> bool:
        if not await _accepts(int(bootstrap.rpartition(":")[2])):
            return False  # aiokafka would log an error for it
        milliseconds = int(ATTEMPT_SECONDS * 1_000)
        client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=milliseconds, **(security or {}))
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except KafkaError:
            return False
        finally:
            await client.close()

    return check


def http_answers(port: int, path: str, status: int = 200) -> Check:
    """`GET path` is answered with this status."""

    async def check() -> bool:
        with suppress(OSError, asyncio.TimeoutError):
            async with asyncio.timeout(ATTEMPT_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
                    line = await reader.readline()
                finally:
                    writer.close()
                return line.split()[1:2] == [str(status).encode()]
        return False

    return check


async def _accepts(port: int) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False
