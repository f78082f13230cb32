"""The calls of gateways, as effects: many at once, each with its own answer."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from chassis.context import Outside
from chassis.decision import Effect
from chassis.service import EffectRequest, EffectResult
from shop.domain.payments import Answer, AuthorizePayment, ConfirmPayment, Unknown
from shop.domain.reconciliation import FetchStatement, Statement
from shop.gateway import GATEWAYS, LISTS

F = TypeVar("F", bound=Effect)

DEADLINE_SECONDS = 5.0  # a call's own limit is shorter, so that the slow one takes no answer from the others
AT_ONCE = 50


async def authorize(
    requests: Sequence[EffectRequest[AuthorizePayment]], outside: Outside
) -> Sequence[EffectResult[AuthorizePayment]]:
    """Have gateways expect payments."""

    async def call(payment: AuthorizePayment) -> str:
        return await GATEWAYS[payment.gateway].authorize(payment, outside)

    return await asyncio.gather(*(_told(one, call) for one in requests))


async def confirm(
    requests: Sequence[EffectRequest[ConfirmPayment]], outside: Outside
) -> Sequence[EffectResult[ConfirmPayment]]:
    """Ask gateways how payments stand."""

    async def call(payment: ConfirmPayment) -> Answer:
        return await GATEWAYS[payment.gateway].confirm(payment, outside)

    return await asyncio.gather(*(_told(one, call) for one in requests))


async def fetch_statement(
    requests: Sequence[EffectRequest[FetchStatement]], outside: Outside
) -> Sequence[EffectResult[FetchStatement]]:
    """Have gateways list what they took."""

    async def call(asked: FetchStatement) -> Statement:
        return await LISTS[asked.gateway].list_payments(asked, outside)

    return await asyncio.gather(*(_told(one, call) for one in requests))


async def _told(request: EffectRequest[F], call: Callable[[F], Awaitable[Any]]) -> EffectResult[F]:
    try:
        return EffectResult(request.effect, request.id, request.key, await call(request.effect))
    except Unknown as unknown:
        return EffectResult(request.effect, request.id, request.key, retry=f"unknown: {unknown}")
