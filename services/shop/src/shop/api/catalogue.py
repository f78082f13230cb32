"""What there is to give and to buy."""

from typing import Annotated

from fastapi import Query

from chassis.http import Body, CallerDep, Page, RankedPageDep, TxRouter, invalid
from contracts.shop import Subtype
from contracts.values import ObjectIdStr
from shop.domain.products import (
    GIFTS,
    SOLD,
    DiamondPackProduct,
    GiftProduct,
    PassProduct,
    SoldProduct,
    pass_of_streamer,
)

router = TxRouter(tags=["shop"])


class ProductView(Body):
    """Something that can be given (`price_diamonds`) or bought (`amount` in the smallest unit of `currency`).

    `duration` in seconds, for gifts that ask for a performance; `diamonds` of a pack; `pass_kind` and `pass_seconds` of
    a pass. A product of the first days has no `subtype`.
    """

    product_id: str
    subtype: Subtype | None
    title: str
    price_diamonds: int | None = None
    categories: tuple[str, ...] = ()
    duration: int | None = None
    amount: int | None = None
    currency: str | None = None
    diamonds: int | None = None
    pass_kind: str | None = None
    pass_seconds: int | None = None


@router.get("/shop/products")
async def list_products(
    wanted: RankedPageDep,
    caller: CallerDep,  # noqa: ARG001 - signed-in users only
    streamer_id: Annotated[ObjectIdStr | None, Query(description="Whose pass is listed too, the last of all")] = None,
) -> Page[ProductView]:
    """Everything that can be given or bought: fixed records, in a fixed order."""
    products = [*GIFTS, *SOLD, *((pass_of_streamer(streamer_id),) if streamer_id else ())]
    places = {product.id: place for place, product in enumerate(products)}
    if wanted.after is not None and wanted.after not in places:
        raise invalid("after", "is not a cursor of this list")
    first = places[wanted.after] + 1 if wanted.after else 0
    shown = products[first : first + wanted.limit]
    last = shown[-1].id if shown else wanted.after
    is_more = first + wanted.limit < len(products)
    return Page(items=[_product(product) for product in shown], next=last if is_more else None, last=last)


def _product(product: GiftProduct | SoldProduct) -> ProductView:
    if isinstance(product, GiftProduct):
        return ProductView(
            product_id=product.id,
            subtype=product.SUBTYPE,
            title=product.title,
            price_diamonds=product.price_diamonds,
            categories=product.categories,
            duration=product.duration_seconds,
        )
    return ProductView(
        product_id=product.id,
        subtype=product.SUBTYPE,
        title=product.title,
        amount=product.amount,
        currency=product.currency,
        diamonds=product.diamonds if isinstance(product, DiamondPackProduct) else None,
        pass_kind=product.pass_kind if isinstance(product, PassProduct) else None,
        pass_seconds=product.pass_seconds if isinstance(product, PassProduct) else None,
    )
