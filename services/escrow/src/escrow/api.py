"""Wallets, escrows and the ledger over HTTP."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import Field

from chassis import ids
from chassis.errors import Forbidden, NotFound
from chassis.http import Body, Caller, CallerDep, Page, PageDep, RankedPageDep, TxDep, TxRouter, UnixTime, paged
from contracts import WalletCreditedV1
from contracts.escrow import Verdict
from contracts.values import EscrowId, ObjectIdStr
from escrow import store
from escrow.domain import escrows, ledger, purchases
from escrow.domain.escrows import Escrow
from escrow.domain.ledger import Balance, Transfer
from escrow.domain.recount import counters_of
from escrow.store import accounts, counts, earned, load
from escrow.store.earned import Earned

router = TxRouter(tags=["money"])

EscrowPath = Annotated[EscrowId, Path(description="`show_funding:…`, `trigger_exclusive:…` or `trigger_private:…`")]
CREDIT_DIAMONDS_MAX = 1_000_000_000  # provisioned diamonds try features out; a typo must not make a billionaire


class EscrowNotFound(NotFound, slug="escrow-not-found"):
    """There is no such escrow."""


class NotYourEscrow(Forbidden, slug="not-your-escrow"):
    """Only the streamer of this escrow, its buyers and OPS may look at it."""


class TransfersAreForOps(Forbidden, slug="transfers-are-for-ops"):
    """Only OPS may have a proof counted from the transfers: its cost grows with them."""


FromDep = Annotated[
    Literal["balances", "transfers"],
    Query(alias="from", description="`balances` and counters as they are kept, or counted anew from the `transfers`"),
]


class Credit(Body):
    """Diamonds to provision."""

    amount_diamonds: Annotated[int, Field(ge=1, le=CREDIT_DIAMONDS_MAX)]


@dataclass(frozen=True, slots=True)
class Credited:
    """The transfer that was made, and the wallet after it."""

    transfer_id: str
    balance_diamonds: int


@dataclass(frozen=True, slots=True)
class Wallet:
    """What a user may spend and what they owe, and what a streamer has earned."""

    user_id: str
    balance_diamonds: int
    owed_diamonds: int
    earnings_diamonds: int


@dataclass(frozen=True, slots=True)
class EntryView:
    """One movement of a wallet; `amount_diamonds` is signed."""

    id: str
    kind: ledger.Kind
    amount_diamonds: int
    escrow_id: str | None
    order_id: str | None
    at: UnixTime


@dataclass(frozen=True, slots=True)
class EarningView:
    """One movement of a streamer's earnings, after the platform's share; `amount_diamonds` is signed."""

    id: str
    kind: ledger.Kind
    amount_diamonds: int
    session_id: str | None
    goal_id: str | None
    payer_id: str | None
    gift_id: str | None
    payment_id: str | None
    at: UnixTime


@dataclass(frozen=True, slots=True)
class EscrowView:
    """Where the money of one promise is."""

    escrow_id: str
    streamer_id: str
    verdict: Verdict | None
    paid_diamonds: int
    held_diamonds: int
    released_diamonds: int
    refunded_diamonds: int


@dataclass(frozen=True, slots=True)
class EscrowProof(EscrowView):
    """The same, proven; `holds`: paid = held + released + refunded, and the ledger's account has just what is held."""

    holds: bool


@dataclass(frozen=True, slots=True)
class Account:
    """One account of the ledger."""

    account: str
    balance_diamonds: int


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """A page of accounts, and the sum over *all* of them: `holds` when it is zero."""

    accounts: list[Account]
    next: str | None
    sum_diamonds: int
    holds: bool


@router.post("/wallets/{user_id}/credit", status_code=201, scope="OPS")
async def credit_wallet(user_id: ObjectIdStr, body: Credit, tx: TxDep, caller: CallerDep) -> Credited:
    """Provision diamonds, to try features out. The ledger remembers who did."""
    cause = ids.new_id()
    account = ledger.wallet(user_id)
    await tx.get_many(store.BALANCES, (account, ledger.MINT))
    await accounts.ensure_wallet(tx, user_id, cause)
    minted = ledger.transfer(
        "credit",
        cause,
        debit=ledger.MINT,
        credit=account,
        amount_diamonds=body.amount_diamonds,
        at=tx.now,
        by=caller.user_id,
    )
    await accounts.post(tx, (minted,), new=True)
    tx.emit(
        WalletCreditedV1(
            user_id=user_id, amount_diamonds=body.amount_diamonds, cause_id=minted.id, credited_by=caller.user_id
        )
    )
    wallet = await accounts.wallet(tx, user_id)
    return Credited(minted.id, wallet.balance_diamonds if wallet else 0)


@router.get("/wallets/me", operation_id="getMyWallet")
async def my_wallet(caller: CallerDep, tx: TxDep) -> Wallet:
    """The caller's diamonds. Who has no wallet yet reads zeros."""
    await tx.begin_snapshot()  # else diamonds that are folded between two reads are missing
    spendable, earned = ledger.wallet(caller.user_id), ledger.earnings(caller.user_id)
    balances = await accounts.balances_diamonds(tx, [spendable, earned])
    wallet = await accounts.wallet(tx, caller.user_id)
    owed = wallet.owed_diamonds if wallet else 0
    return Wallet(caller.user_id, balances[spendable], owed, balances[earned])


@router.get("/wallets/me/entries", operation_id="listMyEntries")
async def my_entries(caller: CallerDep, wanted: PageDep, tx: TxDep) -> Page[EntryView]:
    """What went into and out of the caller's wallet, newest last."""
    mine = ledger.wallet(caller.user_id)
    return await paged(tx, store.TRANSFERS, {"wallets": mine}, wanted, partial(_entry, mine), by="at")


@router.get("/wallets/me/earnings", operation_id="listMyEarnings")
async def my_earnings(caller: CallerDep, wanted: PageDep, tx: TxDep) -> Page[EarningView]:
    """What the caller has earned as a streamer, newest last: from which session, goal and payer, and what went back."""
    page = await paged(
        tx, store.TRANSFERS, earned.of_streamer(caller.user_id), wanted, lambda transfer: transfer, by="at"
    )
    shown = await earned.explained(tx, caller.user_id, page.items)
    return Page([_earning(one) for one in shown], page.next, page.last)


@router.get("/escrows/{escrow_id}", operation_id="getEscrow", refuses=(EscrowNotFound, NotYourEscrow))
async def escrow_of(escrow_id: EscrowPath, caller: CallerDep, tx: TxDep) -> EscrowView:
    """Where the money of one promise is: all of it for its streamer and OPS, for a buyer their own part."""
    await tx.begin_snapshot()
    escrow = await _escrow(escrow_id, tx)
    if _may_see_all(caller, escrow):
        return EscrowView(
            escrow.id,
            escrow.streamer_id,
            escrow.verdict,
            escrow.paid_diamonds,
            escrow.held_diamonds,
            escrow.released_diamonds,
            escrow.refunded_diamonds,
        )
    part = await load.buyers_part(tx, escrow_id, caller.user_id)
    if not part:
        raise _not_theirs(escrow_id)
    held, released, refunded = (part.get(status, 0) for status in ("held", "released", "refunded"))
    return EscrowView(escrow.id, escrow.streamer_id, escrow.verdict, sum(part.values()), held, released, refunded)


@router.get(
    "/escrows/{escrow_id}/proof",
    operation_id="getEscrowProof",
    refuses=(EscrowNotFound, NotYourEscrow, TransfersAreForOps),
)
async def escrow_proof(escrow_id: EscrowPath, caller: CallerDep, tx: TxDep, of: FromDep = "balances") -> EscrowProof:
    """The same proven: the escrow's account in the ledger holds what is left, and with `from=transfers` (OPS) all of it
    is counted transfer by transfer and earning by earning.
    """
    await tx.begin_snapshot()
    escrow = await _escrow(escrow_id, tx)
    if not _may_see_all(caller, escrow):
        raise _not_theirs(escrow_id)
    said = counted = counters_of(escrow)
    account = await accounts.balance_diamonds(tx, ledger.escrow(escrow_id))
    holds = account == said.held_diamonds
    if of == "transfers":
        if "OPS" not in caller.scopes:
            raise TransfersAreForOps
        counted = (await counts.count_escrows(tx, [escrow_id]))[escrow_id]
        earnings = await load.earnings_by_status(tx, escrow_id)
        holds &= counted == said and [earnings.get(status, 0) for status in ("held", "released", "refunded")] == [
            counted.held_diamonds,
            counted.released_diamonds,
            counted.refunded_diamonds,
        ]
    paid, held = counted.paid_diamonds, counted.held_diamonds
    released, refunded = counted.released_diamonds, counted.refunded_diamonds
    return EscrowProof(escrow.id, escrow.streamer_id, escrow.verdict, paid, held, released, refunded, holds)


@router.get("/ledger/proof", operation_id="getLedgerProof", scope="OPS")
async def ledger_proof(wanted: RankedPageDep, tx: TxDep, caller: CallerDep, of: FromDep = "balances") -> LedgerProof:  # noqa: ARG001 - who may is in `scope`
    """Every account, page by page, and the sum over all of them.

    With `from=transfers` each account of the page is added up from its transfers, and `holds` says too that its balance
    is just that.
    """
    await tx.begin_snapshot()
    page = await paged(tx, store.BALANCES, {}, wanted, _account_name)
    balances = await accounts.balances_diamonds(tx, page.items)
    total = (await accounts.total(tx)).diamonds
    holds = total == 0
    if of == "transfers":
        counted = await counts.transferred(tx, page.items, {})
        holds &= counted == balances
        balances = counted
    return LedgerProof([Account(name, balances[name]) for name in page.items], page.next, total, holds=holds)


async def _escrow(escrow_id: str, tx: TxDep) -> Escrow:
    escrow = await tx.get(store.ESCROWS, escrow_id)
    if escrow is None:
        raise EscrowNotFound
    return escrow


def _may_see_all(caller: Caller, escrow: Escrow) -> bool:
    return caller.user_id == escrow.streamer_id or "OPS" in caller.scopes


def _not_theirs(escrow_id: str) -> NotFound | Forbidden:
    """That somebody pays for a 1-on-1 is those two people's business."""
    return EscrowNotFound() if escrows.only_cause(escrow_id) else NotYourEscrow()


def _entry(wallet: str, transfer: Transfer) -> EntryView:
    amount_diamonds = transfer.amount_diamonds if transfer.credit == wallet else -transfer.amount_diamonds
    order_id = purchases.order_of(transfer)
    return EntryView(transfer.id, transfer.kind, amount_diamonds, transfer.escrow_id, order_id, transfer.at)


def _earning(one: Earned) -> EarningView:
    return EarningView(
        one.transfer.id,
        one.transfer.kind,
        one.amount_diamonds,
        one.session_id,
        one.goal_id,
        one.payer_id,
        one.gift_id,
        one.payment_id,
        one.transfer.at,
    )


def _account_name(balance: Balance) -> str:
    return balance.id
