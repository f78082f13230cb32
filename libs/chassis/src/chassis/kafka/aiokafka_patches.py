"""Records as aiokafka reads them, and those too that it cannot: with a header whose name is not UTF-8, or in front of
a damaged batch.

aiokafka raises at such a record, out of `getmany`, and a seek leads past neither it nor what lies behind it: wherever
in a batch it goes to, the batch is unpacked from its beginning. Nothing about that can be set, so what the fetcher
reads with is replaced. The record is then like any other that cannot be decoded: it is parked, and the rest flows.

At a damaged batch it raises, too, and what it has read before that in the same answer is lost. So an answer ends before
the first damaged batch; one that begins with it raises an error that knows its partition.
"""

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH_AT, _LENGTH_BYTES = 8, 4  # in any batch: its offset, then how many bytes follow


class CorruptBatchError(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """The checksum of a batch is not that of its bytes."""

    def __init__(self, tp: TopicPartition, offset: int) -> None:
        """Name the batch."""
        super().__init__(f"the batch at {offset} is damaged")
        self.tp = tp


def finish_fetch(consumer: Any) -> None:
    """After an error out of `getmany`: aiokafka would take the consumer for one that polls for ever."""
    subscriptions = consumer._subscription  # noqa: SLF001 - its own code has no `finally`
    subscriptions._fetch_count = 0  # noqa: SLF001 - as above
    subscriptions._last_fetch_ended = time.monotonic()  # noqa: SLF001 - as above


def read_every_record() -> None:
    """Let the consumers of this process read so; in names of headers, U+FFFD stands for what is not UTF-8."""
    fetcher.MemoryRecords = _Records
    fetcher.PartitionRecords = _PartitionRecords


class _Records:
    """Stands in for aiokafka's `MemoryRecords`: the batches that were fetched of one partition."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._records: Any = MemoryRecords(data)
        self._next: _Batch | None = None
        self._is_first = True
        self.size_in_bytes = self._records.size_in_bytes

    def has_next(self) -> bool:
        """Whether there is a batch that is sound, or the first one."""
        if self._next is None and self._records.has_next():
            self._next = self._read()
        return self._next is not None and (self._is_first or self._next.is_sound)

    def next_batch(self) -> "_Batch":
        """The one that `has_next` has seen."""
        batch, self._next, self._is_first = self._next or self._read(), None, False
        return batch

    def _read(self) -> "_Batch":
        begin, length_at = self._at, self._at + _LENGTH_AT
        after = length_at + _LENGTH_BYTES
        self._at = after + int.from_bytes(self._data[length_at:after], "big")
        return _Batch(self._records.next_batch(), self._data[begin : self._at])


class _Batch:
    """One batch, of which every record can be read."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    @cached_property
    def is_sound(self) -> bool:
        """Whether its checksum is that of its bytes."""
        return bool(self._batch.validate_crc())

    def validate_crc(self) -> bool:
        """As aiokafka asks for it."""
        return self.is_sound

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        """How aiokafka reads the one record of a batch that only marks the end of a transaction."""
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except UnicodeDecodeError:
            yield from _leniently(self._data)  # from the beginning: the fetcher passes over what it has had already


class _PartitionRecords(PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """What the fetcher goes over; knows the partition of an error."""

    def _unpack_records(self) -> Iterator[Any]:
        try:
            yield from super()._unpack_records()
        except CorruptRecordException as error:
            raise CorruptBatchError(self._tp, self.next_fetch_offset) from error


def _leniently(data: memoryview) -> Any:
    """The slower reader of aiokafka, in Python, with bytes that can always be decoded."""
    batch = _DefaultRecordBatchPy(data)
    batch._maybe_uncompress()  # noqa: SLF001 - there is no other way to what it decodes
    batch._buffer = _Text(batch._buffer)  # noqa: SLF001 - as above
    return batch


class _Text(bytearray):
    """Bytes that can always be decoded, and so can parts of them."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _Text(part) if isinstance(at, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)
