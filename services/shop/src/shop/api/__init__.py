"""The shop over HTTP: what there is, what is given, what is bought and what became of it (SPEC §8)."""

from chassis.http import TxRouter
from shop.api import backpack, catalogue, checkout, gifts, orders, reconciliation, refunds

router = TxRouter()
router.include_router(catalogue.router)
router.include_router(gifts.router)
router.include_router(orders.router)
router.include_router(checkout.router)
router.include_router(backpack.router)
router.include_router(refunds.router)
router.include_router(reconciliation.router)
