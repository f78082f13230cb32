"""A service for tests of the HTTP edge: it makes coins, and tells of them."""

from dataclasses import dataclass

from chassis import ids
from chassis.http import Body, TxDep, TxRouter
from chassis.service import Service
from chassis.storage.collection import Collection


@dataclass(frozen=True, slots=True)
class Coin:
    """Nothing but itself."""

    id: str


COINS = Collection("coins", Coin)


class CoinView(Body):
    """A coin as callers see it; its id is `none` when there is none."""

    id: str


router = TxRouter()


@router.post("/coins", status_code=201)
async def make_coin(tx: TxDep) -> CoinView:
    """Make one."""
    coin = Coin(ids.new_id())
    tx.put(COINS, coin)
    return CoinView(id=coin.id)


@router.post("/group", status_code=201, group_commit=True)
async def make_coin_in_a_group(tx: TxDep) -> CoinView:
    """Make one, in a transaction with others'."""
    return await make_coin(tx)


@router.get("/coins/{id_}")
async def get_coin(id_: str, tx: TxDep) -> CoinView:
    """Look for one."""
    coin = await tx.get(COINS, id_)
    return CoinView(id=coin.id if coin else "none")


SERVICE = Service(name="coins", router=router, collections=(COINS,))
