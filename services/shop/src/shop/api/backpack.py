"""The backpack: what was bought and waits to be used."""

from typing import Annotated

from fastapi import Path

from chassis.http import Body, CallerDep, Page, PageDep, TxDep, TxRouter, UnixTime, paged
from contracts.shop import Subtype
from contracts.values import ObjectIdStr
from shop import store
from shop.domain import backpack
from shop.domain.backpack import BackpackItem, BackpackItemNotFound

router = TxRouter(tags=["shop"])


class BackpackItemView(Body):
    """One piece. A pass has its `nbf` and `exp` from its activation on; before, both are null."""

    item_id: str
    order_id: str
    product_id: str
    subtype: Subtype | None
    pass_kind: str | None
    pass_seconds: int | None
    granted: UnixTime
    activated: UnixTime | None
    nbf: UnixTime | None
    exp: UnixTime | None


@router.get("/shop/backpack")
async def list_backpack(wanted: PageDep, caller: CallerDep, tx: TxDep) -> Page[BackpackItemView]:
    """What the caller has bought to use, newest last."""
    return await paged(tx, store.BACKPACK, {"user_id": caller.user_id}, wanted, _view, by="granted")


@router.post(
    "/shop/backpack/{item_id}/activate",
    operation_id="activatePass",
    refuses=(BackpackItemNotFound, backpack.NotAPass, backpack.AlreadyActivated),
)
async def activate(
    item_id: Annotated[ObjectIdStr, Path(description="The piece in the backpack")], caller: CallerDep, tx: TxDep
) -> BackpackItemView:
    """Begin to use a pass: its time is added to what is left of the caller's passes of its kind."""
    item = await tx.get(store.BACKPACK, item_id)
    if item is None or item.user_id != caller.user_id:
        raise BackpackItemNotFound
    old = await tx.get(store.PASSES, backpack.pass_id(item.user_id, item.pass_kind)) if item.pass_kind else None
    activated, time, told = backpack.activate(item, old, tx.now)
    tx.put(store.BACKPACK, activated)
    tx.put(store.PASSES, time)
    tx.emit(told)
    return _view(activated)


def _view(item: BackpackItem) -> BackpackItemView:
    return BackpackItemView(
        item_id=item.id,
        order_id=item.order_id,
        product_id=item.product_id,
        subtype=item.subtype,
        pass_kind=item.pass_kind,
        pass_seconds=item.pass_seconds,
        granted=item.granted,
        activated=item.activated,
        nbf=item.nbf,
        exp=item.exp,
    )
