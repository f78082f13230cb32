"""Wallets of those who buy: there before they pay, then filled with their diamonds; emptied of them by a refund.

What is missing then is taken from what comes back into the wallet later.
"""

from collections.abc import Sequence

from chassis.errors import NotYet
from chassis.service import EffectResult
from chassis.storage.tx import Tx
from contracts import OrderCreatedV1, OrderPaidV1, OrderRefundedV1
from escrow import store
from escrow.domain import external_wallet, ledger, purchases
from escrow.domain.external_wallet import CreateAccount
from escrow.domain.ledger import Transfer
from escrow.store import accounts, load


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
        await accounts.owe(tx, debit, debit.missing_diamonds)
        tx.emit(told)


async def post_returned(tx: Tx, transfers: Sequence[Transfer]) -> None:
    """Post transfers by which diamonds come back; of those that do, take what is missing in that wallet, and say so.

    That a wallet owes something stands in its row, which is loaded with the batch: who owes nothing costs no query.
    """
    await accounts.post(tx, transfers, new=True)
    back = purchases.returned(transfers)
    wallets = await tx.get_many(store.BALANCES, (ledger.wallet(one.user_id) for one in back))
    for user_id in dict.fromkeys(one.user_id for one in back if wallets[ledger.wallet(one.user_id)].owed_diamonds):
        debits = await load.missing_debits(tx, user_id)
        taken = purchases.take_returned(debits, (one for one in back if one.user_id == user_id), tx.now)
        await accounts.post(tx, [one.transfer for one in taken], new=True)
        for one in taken:
            await accounts.owe(tx, one.debit, -one.transfer.amount_diamonds)
            tx.emit(one.event)
