"""`python -m escrow recount`: everything that follows from the transfers, counted anew (SPEC §5).

Page by page, each of one snapshot, so that it needs little memory and is right while the service runs. A page whose
rows somebody writes meanwhile is counted again. Each list is followed to the last id that was there when it was begun:
whoever writes as fast as this reads would keep it running for ever.
"""

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

import structlog

from chassis.context import Runtime
from chassis.storage.batch import BatchRunner
from chassis.storage.collection import Collection
from chassis.storage.tx import Tx
from escrow import store
from escrow.domain import ledger, recount
from escrow.domain.escrows import Earning, Escrow
from escrow.domain.ledger import Balance
from escrow.domain.payments import Payment
from escrow.domain.purchases import Debit
from escrow.domain.recount import Difference, Of
from escrow.store import accounts, counts, load

R = TypeVar("R", Balance, Escrow, Earning, Payment, Debit)
Count = Callable[[Tx, Sequence[str]], Awaitable[list[Difference]]]

WRITE: Final = "--write"
PAGE: Final = 200
ESCROWS_PAGE: Final = 10  # each may have 100 000 earnings, and a snapshot lasts for 5 s
SURE: Final = timedelta(seconds=60)  # what is older is committed: a transaction lives for 5 s, clocks differ by less
DIFFERENT: Final = 2  # the exit code: something has to be mended

_log = structlog.get_logger(__name__)


async def recount_command(runtime: Runtime, arguments: Sequence[str]) -> int:
    """Print every difference, a JSON object a line; with `--write`, mend what can be mended."""
    found = mended = 0
    async for difference in recount_all(runtime, write=WRITE in arguments):
        found += 1
        mended += difference.mended
        sys.stdout.write(json.dumps(asdict(difference)) + "\n")
    _log.info("recounted", differences=found, mended=mended)
    return DIFFERENT if mended < found else 0


async def recount_all(runtime: Runtime, *, write: bool = False) -> AsyncIterator[Difference]:
    """Every stored value that is not what the transfers give."""
    books = _Books(runtime, write=write)
    parts: tuple[tuple[Collection[Any], Count, int], ...] = (
        (store.BALANCES, books.accounts, PAGE),
        (store.ESCROWS, books.escrows, ESCROWS_PAGE),
        (store.EARNINGS, books.earnings, PAGE),
        (store.PAYMENTS, books.payments, PAGE),
        (store.DEBITS, books.debits, PAGE),
    )
    async for names in _accounts_without_row(books):
        for difference in await books.run(books.accounts, names):
            yield difference
    for collection, count, size in parts:
        async for ids in _ids(books, collection, size):
            for difference in await books.run(count, ids):
                yield difference
    async for difference in _lost_documents(books):
        yield difference


async def _lost_documents(books: "_Books") -> AsyncIterator[Difference]:
    """Earnings and payments that have moved money and are not there, each once."""
    said: set[str] = set()
    async for ids in _ids(books, store.TRANSFERS, PAGE):
        for difference in await books.run(books.lost, ids):
            if difference.id not in said:
                yield difference
            said.add(difference.id)


def _ids(books: "_Books", collection: Collection[Any], size: int) -> AsyncIterator[list[str]]:
    return _pages(
        lambda: counts.last_id(books.outside(), collection),
        lambda after, last: counts.ids_after(books.outside(), collection, after, last, size),
    )


def _accounts_without_row(books: "_Books") -> AsyncIterator[list[str]]:
    return _pages(
        lambda: counts.last_account(books.outside()),
        lambda after, last: counts.accounts_without_row(books.outside(), after, last, PAGE),
    )


async def _pages(
    find_last: Callable[[], Awaitable[str]], find_after: Callable[[str, str], Awaitable[list[str]]]
) -> AsyncIterator[list[str]]:
    """What is there now, page by page, however much is added meanwhile."""
    after, last = "", await find_last()
    while page := await find_after(after, last):
        yield page
        after = page[-1]


class _Books:
    """Counts one page in one transaction."""

    def __init__(self, runtime: Runtime, *, write: bool) -> None:
        self._runtime = runtime
        self._write = write
        self._batch: BatchRunner[Sequence[str]] = BatchRunner(
            "recount", lambda: runtime.begin(runtime.now_cause("recount")), 1
        )

    def outside(self) -> Tx:
        """For reading outside the page's transaction."""
        return self._runtime.begin(self._runtime.now_cause("recount"), read_only=True)

    async def run(self, count: Count, ids: Sequence[str]) -> list[Difference]:
        """Count one page, again if it was written meanwhile."""
        found: list[Difference] = []

        async def attempt(tx: Tx, pages: Sequence[Sequence[str]]) -> None:
            found[:] = await count(tx, pages[0])

        if ids:
            await self._batch.run([ids], attempt)
        return found

    async def accounts(self, tx: Tx, names: Sequence[str]) -> list[Difference]:
        """Balances, and what wallets owe.

        What is old is added up before the snapshot, which may not last; doubts are cleared within it.
        """
        sure_until = tx.now - SURE
        old = await counts.transferred(self.outside(), names, {"at": {"$lte": sure_until}})
        stored = await accounts.balances_diamonds(tx, names)
        new = await counts.transferred(tx, names, {"at": {"$gt": sure_until}})
        doubtful = [account for account in names if stored[account] != old[account] + new[account]]
        counted = await counts.transferred(tx, doubtful, {}) if doubtful else {}
        wrong = [account for account in doubtful if stored[account] != counted[account]]
        rows = await tx.get_many(store.BALANCES, wrong)
        if self._write:
            for account in wrong:
                row = rows.get(account) or Balance(account)
                more = counted[account] - stored[account]
                tx.put(store.BALANCES, replace(row, balance_diamonds=row.balance_diamonds + more))
        differences = [
            Difference("account", one, "balance_diamonds", stored[one], counted[one], self._write) for one in wrong
        ]
        return differences + await self._owed(tx, names) + await self._lost_escrows(tx, names)

    async def _owed(self, tx: Tx, names: Sequence[str]) -> list[Difference]:
        """What is missing in wallets."""
        wallets = {user_id: name for name in names if (user_id := ledger.owner_of(name))}
        owed = await counts.owed_by(tx, list(wallets))
        rows = await tx.get_many(store.BALANCES, wallets.values())
        found: list[Difference] = []
        for user_id, name in wallets.items():
            row = rows.get(name) or Balance(name)
            found += self._compare(tx, store.BALANCES, "account", row, replace(row, owed_diamonds=owed[user_id]))
        return found

    async def _lost_escrows(self, tx: Tx, accounts: Sequence[str]) -> list[Difference]:
        """Escrows that have moved money and are not there; transfers do not say whose they were."""
        ids = [ledger.escrow_of(account) for account in accounts]
        wanted = [id_ for id_ in ids if id_ is not None]
        there = await tx.get_many(store.ESCROWS, wanted)
        return [Difference("escrow", id_, "exists", stored=False, counted=True) for id_ in wanted if id_ not in there]

    async def escrows(self, tx: Tx, ids: Sequence[str]) -> list[Difference]:
        """Counters of escrows; and that each has the earnings that were held."""
        counted = await counts.count_escrows(tx, ids)
        found: list[Difference] = []
        for id_, escrow in (await tx.get_many(store.ESCROWS, ids)).items():
            found += self._compare(tx, store.ESCROWS, "escrow", escrow, recount.recount_escrow(escrow, counted[id_]))
            paid, there = counted[id_].paid_diamonds, sum((await load.earnings_by_status(tx, id_)).values())
            if paid != there:
                found.append(Difference("escrow", id_, "amount_diamonds of its earnings", there, paid))
        return found

    async def earnings(self, tx: Tx, ids: Sequence[str]) -> list[Difference]:
        """Statuses of earnings."""
        moved = await counts.moved_for(tx, ids, ("hold", "release", "fee", "refund"))
        found: list[Difference] = []
        for id_, earning in (await tx.get_many(store.EARNINGS, ids)).items():
            right = recount.recount_earning(earning, moved[id_])
            if right is None:
                found.append(Difference("earning", id_, "status", earning.status, "released and refunded"))
            else:
                found += self._compare(tx, store.EARNINGS, "earning", earning, right)
        return found

    async def payments(self, tx: Tx, ids: Sequence[str]) -> list[Difference]:
        """Statuses of payments, and how much of them came back."""
        moved = await counts.moved_for(tx, ids, ("payment", "fee"))
        payments = await tx.get_many(store.PAYMENTS, ids)
        back = await counts.reversed_of(tx, {ledger.wallet(payment.payer_id) for payment in payments.values()})
        found: list[Difference] = []
        for id_, payment in payments.items():
            right = recount.recount_payment(payment, moved[id_], back.get(id_, 0))
            found += self._compare(tx, store.PAYMENTS, "payment", payment, right)
        return found

    async def debits(self, tx: Tx, ids: Sequence[str]) -> list[Difference]:
        """What was taken back of order items, and what is missing."""
        bought = await counts.moved_for(tx, ids, ("credit",))
        debits = await tx.get_many(store.DEBITS, ids)
        taken = await counts.taken_back_of(tx, {debit.user_id for debit in debits.values()})
        found: list[Difference] = []
        for id_, debit in debits.items():
            right = recount.recount_debit(debit, bought[id_].get("credit", 0), taken.get(id_, 0))
            found += self._compare(tx, store.DEBITS, "debit", debit, right)
        return found

    async def lost(self, tx: Tx, ids: Sequence[str]) -> list[Difference]:
        """What these transfers were made for, and is not there: a transfer does not tell all that it was."""
        transfers = await tx.get_many(store.TRANSFERS, ids)
        owners = {owner for transfer in transfers.values() if (owner := recount.moved_for(transfer))}
        there = {
            *(await tx.get_many(store.EARNINGS, (id_ for of, id_ in owners if of == "earning"))),
            *(await tx.get_many(store.PAYMENTS, (id_ for of, id_ in owners if of == "payment"))),
            *(await tx.get_many(store.DEBITS, (id_ for of, id_ in owners if of == "debit"))),
        }
        return [
            Difference(of, id_, "exists", stored=False, counted=True) for of, id_ in sorted(owners) if id_ not in there
        ]

    def _compare(self, tx: Tx, collection: Collection[R], of: Of, stored: R, right: R) -> list[Difference]:
        found = recount.differences(of, stored, right)
        if found and self._write:
            tx.put(collection, right)
        return [replace(one, mended=self._write) for one in found]
