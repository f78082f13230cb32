"""Wallets of those who buy: there before they pay, then filled with their diamonds; emptied of them by a refund."""

from chassis.errors import NotYet
from chassis.service import EffectResult
from chassis.storage.tx import Tx
from contracts import OrderCreatedV1, OrderPaidV1, OrderRefundedV1
from escrow import store
from escrow.domain import external_wallet, ledger, purchases
from escrow.domain.external_wallet import CreateAccount
from escrow.store import accounts


async def ensure_wallet_and_bank(event: OrderCreatedV1, tx: Tx) -> None:
    """Who is about to pay has a wallet."""
    await accounts.ensure_wallet(tx, event.user_id, event.order_id)


async def record_account(result: EffectResult[CreateAccount], tx: Tx) -> None:
    """The external wallet has the account."""
    account = await tx.get(store.EXTERNAL_ACCOUNTS, result.effect.user_id)
    if account is not None:
        tx.put(store.EXTERNAL_ACCOUNTS, external_wallet.took(account, tx.now))


async def credit_order(event: OrderPaidV1, tx: Tx) -> None:
    """Credit the diamonds of each item, once, whether or not `order.created` has been heard."""
    bought = purchases.diamonds_bought(event)
    if bought:
        await accounts.ensure_wallet(tx, event.user_id, event.order_id)
    for credited in bought:
        credit = ledger.credit_of(credited, tx.now)
        known = await tx.get(store.TRANSFERS, credit.id)
        await accounts.post(tx, (credit,))
        if known is None:
            tx.emit(credited)


async def take_back_order(event: OrderRefundedV1, tx: Tx) -> None:
    """Take the diamonds of each item out of the wallet, once, as far as they are there; say what was not.

    Raises:
        NotYet: they have not been credited.
    """
    for bought in purchases.diamonds_bought(event):
        if await tx.get(store.DEBITS, bought.cause_id) is not None:
            continue
        if await tx.get(store.TRANSFERS, ledger.transfer_id("credit", bought.cause_id)) is None:
            raise NotYet("credit")
        wallet = await accounts.wallet(tx, event.user_id)
        told = purchases.take_back(bought, wallet.balance_diamonds if wallet else 0)
        debit, transfers = purchases.debit_of(told, tx.now)
        await accounts.post(tx, transfers)
        tx.put(store.DEBITS, debit)
        tx.emit(told)
