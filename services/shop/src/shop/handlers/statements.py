"""What gateways say that they took, kept line by line."""

from chassis.service import EffectResult
from chassis.storage.tx import Tx
from shop import store
from shop.domain import reconciliation
from shop.domain.reconciliation import FetchStatement, Statement


async def record_statement(result: EffectResult[FetchStatement], tx: Tx) -> None:
    """Keep a part of a statement, and ask for the next one."""
    statement: Statement = result.result
    for line in statement.lines:
        tx.put(store.STATEMENT_LINES, line)
    if statement.next is not None:
        asked = result.effect
        tx.schedule_effect(reconciliation.fetch(asked.gateway, asked.day, statement.next))
