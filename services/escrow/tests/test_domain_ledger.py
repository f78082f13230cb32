"""The ledger: money is moved once, never made, never lost."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from escrow.domain import ledger
from escrow.domain.ledger import Balance, LedgerBroken, Movement, Transfer

NOW = datetime(2026, 1, 31, 20, tzinfo=UTC)
ANN, BOB = ledger.wallet("a" * 24), ledger.wallet("b" * 24)


def credit(cause: str, account: str, amount: int) -> Transfer:
    return ledger.transfer("credit", cause, debit=ledger.MINT, credit=account, amount_diamonds=amount, at=NOW)


def test_a_transfer_takes_from_one_account_and_gives_to_the_other() -> None:
    moved = ledger.transfer("refund", "x", debit=ANN, credit=BOB, amount_diamonds=30, at=NOW)

    posting = ledger.post([moved], {}, {ANN: Balance(ANN, 100)})

    assert {balance.id: balance.balance_diamonds for balance in posting.balances} == {ANN: 70, BOB: 30}
    assert posting.transfers == (moved,)
    assert moved.wallets == (ANN, BOB)  # to whose owners it is shown


def test_the_same_cause_never_moves_money_twice() -> None:
    once = credit("x", ANN, 10)

    assert (
        ledger.post([replace(once, at=NOW.replace(hour=21))], {once.id: once}, {ANN: Balance(ANN, 10)}).balances == ()
    )


def test_the_same_cause_with_another_content_stops() -> None:
    once = credit("x", ANN, 10)

    with pytest.raises(LedgerBroken):
        ledger.post([credit("x", ANN, 11)], {once.id: once}, {ANN: Balance(ANN, 10)})


def test_an_account_with_a_floor_never_goes_below_zero() -> None:
    moved = ledger.transfer("refund", "x", debit=ANN, credit=BOB, amount_diamonds=30, at=NOW)

    with pytest.raises(LedgerBroken):
        ledger.post([moved], {}, {ANN: Balance(ANN, 29)})


def test_an_account_without_a_floor_is_only_written_when_it_is_new() -> None:
    new = ledger.post([credit("x", ANN, 10)], {}, {})
    known = ledger.post([credit("y", ANN, 10)], {}, {ledger.MINT: Balance(ledger.MINT, -10), ANN: Balance(ANN, 10)})

    assert Balance(ledger.MINT, 0) in new.balances
    assert [balance.id for balance in known.balances] == [ANN]
    assert [(move.account, move.amount_diamonds) for move in known.movements] == [(ledger.MINT, -10)]


accounts = st.sampled_from([ANN, BOB, ledger.escrow("e"), ledger.earnings("s"), ledger.MINT, ledger.REVENUE])


@given(st.lists(st.tuples(accounts, accounts, st.integers(1, 100)).filter(lambda t: t[0] != t[1]), max_size=40))
def test_the_sum_over_all_accounts_stays_zero(moves: list[tuple[str, str, int]]) -> None:
    known: dict[str, Transfer] = {}
    balances: dict[str, Balance] = {}
    movements: list[Movement] = []
    for number, (debit, to, amount) in enumerate(moves):
        wanted = ledger.transfer("credit", str(number), debit=debit, credit=to, amount_diamonds=amount, at=NOW)
        try:
            posting = ledger.post([wanted], known, balances)
        except LedgerBroken:
            continue
        known |= {transfer.id: transfer for transfer in posting.transfers}
        balances |= {balance.id: balance for balance in posting.balances}
        movements += posting.movements

    balances |= {balance.id: balance for balance in ledger.fold(movements, balances)}

    assert sum(balance.balance_diamonds for balance in balances.values()) == 0
    assert all(balance.balance_diamonds >= 0 for name, balance in balances.items() if ledger.has_floor(name))
