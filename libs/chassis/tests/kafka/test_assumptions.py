"""Assume, then prove: when an attempt takes things for granted, and what writing says to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from fastapi import APIRouter

from chassis.kafka.assumptions import Assumptions, StaleAssumptionError
from chassis.service import Service
from chassis.storage.collection import Collection
from chassis_testing.service import ServiceHarness


@dataclass(frozen=True, slots=True)
class Coin:
    id: str
    value: int = 0


COINS = Collection("coins", Coin)
SERVICE = Service("tests", APIRouter(), collections=(COINS,))
HarnessOf = Callable[[Service], Awaitable[ServiceHarness]]


def trusting() -> Assumptions:
    assumptions = Assumptions()
    assumptions.committed()
    return assumptions


def test_nothing_is_assumed_before_an_attempt_went_well() -> None:
    assumptions = Assumptions()

    assert not assumptions.begin(known=True)
    assert not assumptions.hold


def test_an_attempt_that_went_well_lets_one_assume_and_not_the_one_after_that() -> None:
    assumptions = trusting()

    assert assumptions.begin(known=True)
    assert assumptions.hold
    assert not assumptions.begin(known=True)  # the one before was never committed
    assert not assumptions.hold


def test_of_what_is_not_known_nothing_is_assumed() -> None:
    assumptions = trusting()

    assert not assumptions.begin(known=False)
    assert not assumptions.begin(known=True)


async def test_what_somebody_else_has_written_since_is_noticed_by_writing(harness_of: HarnessOf) -> None:
    harness, assumptions = await harness_of(SERVICE), trusting()
    async with harness.tx() as tx:
        tx.put(COINS, Coin("a"))
    stamp = tx.stamp
    harness.clock.advance(1)
    async with harness.tx() as other:
        other.put(COINS, Coin("a", 7))

    assumptions.begin(known=True)
    tx = harness.runtime.begin(harness.cause())
    tx.assume_unchanged(COINS, Coin("a"), stamp)
    tx.put(COINS, Coin("a", 1))
    with pytest.raises(StaleAssumptionError):
        await assumptions.prove(tx, COINS)
    await tx.abort()


async def test_what_is_there_already_is_noticed_by_writing(harness_of: HarnessOf) -> None:
    harness, assumptions = await harness_of(SERVICE), trusting()
    async with harness.tx() as tx:
        tx.put(COINS, Coin("a"))

    assumptions.begin(known=True)
    tx = harness.runtime.begin(harness.cause())
    tx.assume_absent(COINS.ref("a"))
    tx.put(COINS, Coin("a", 1))
    with pytest.raises(StaleAssumptionError):
        await assumptions.prove(tx, COINS)
    await tx.abort()


async def test_what_is_as_assumed_is_proven(harness_of: HarnessOf) -> None:
    harness, assumptions = await harness_of(SERVICE), trusting()
    async with harness.tx() as tx:
        tx.put(COINS, Coin("a"))
    stamp = tx.stamp

    assumptions.begin(known=True)
    async with harness.tx() as tx:
        tx.assume_unchanged(COINS, Coin("a"), stamp)
        tx.assume_absent(COINS.ref("b"))
        tx.put(COINS, Coin("a", 1))
        tx.put(COINS, Coin("b", 1))
        await assumptions.prove(tx, COINS)

    async with harness.tx() as tx:
        assert await tx.find(COINS, {}, sort={"_id": 1}) == [Coin("a", 1), Coin("b", 1)]


async def test_an_attempt_that_assumes_nothing_proves_nothing_and_what_mongodb_cannot_hold_is_no_doubt(
    harness_of: HarnessOf,
) -> None:
    harness, assumptions = await harness_of(SERVICE), trusting()
    tx = harness.runtime.begin(harness.cause())
    tx.insert(COINS, Coin("a", 2**70))
    assumptions.begin(known=False)
    await assumptions.prove(tx, COINS)

    assumptions.committed()
    assumptions.begin(known=True)
    with pytest.raises(OverflowError):
        await assumptions.prove(tx, COINS)
    await tx.abort()
