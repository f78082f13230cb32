"""The way to a gateway and back: a browser carries one state, and pages of ours send it on.

Nothing that comes back with the browser is believed: it is a hint to ask the gateway.
"""

from datetime import timedelta
from typing import Annotated

from fastapi import Path, Query, Response

from chassis import ids
from chassis.errors import Conflict
from chassis.http import Body, CallerDep, RawBody, TxDep, TxRouter
from contracts.shop import Gateway
from contracts.values import ObjectIdStr
from shop import store
from shop.api import pages
from shop.api.pages import Carried
from shop.api.words import Language, LanguageDep
from shop.domain import orders, payments
from shop.domain.orders import LATE, Order, OrderNotFound
from shop.domain.trips import RoundTrip, outcome
from shop.gateway import sonet, states
from shop.gateway.states import State, StateInvalid
from shop.settings import ShopSettings
from shop.store.orders import ask, settle

router = TxRouter(tags=["checkout"])

StateQuery = Annotated[str, Query(min_length=1, max_length=1_000, description="What the browser carries")]
SessionPath = Annotated[str, Path(pattern="^shop-checkout-[0-9a-f]{24}$", description="`shop-checkout-` and the order")]


class OrderClosed(Conflict, slug="order-closed"):
    """This order is not to be paid any more."""


class Completion(Body):
    """The order to pay, and the language of the pages on the way; without `lang` the browser's own."""

    order_id: ObjectIdStr
    lang: Language | None = None


class Completed(Body):
    """Where to send the browser."""

    url: str


@router.post("/shop/checkout/{gateway}/complete", refuses=(OrderNotFound, orders.GatewayNotOffered, OrderClosed))
async def complete_checkout(
    gateway: Annotated[Gateway, Path(description="The order's")], body: Completion, caller: CallerDep, tx: TxDep
) -> Completed:
    """Hand an order over to its gateway: the answer says where to send the browser, which finds its way from there."""
    order = await tx.get(store.ORDERS, body.order_id)
    if order is None or order.user_id != caller.user_id:
        raise OrderNotFound
    settings = tx.settings(ShopSettings)
    if gateway != order.gateway or gateway not in settings.payment_gateways:
        raise orders.GatewayNotOffered
    if order.payment not in ("open", "pending") or tx.now >= order.exp:
        raise OrderClosed
    trip = RoundTrip(ids.new_id(), order.id, order.exp)
    carried = Carried(states.issue(settings, State(trip.id, order.id), order.exp), body.lang)
    settle(tx, order, "handed_over")
    if order.payment == "open":  # later it is known, or being asked for: what is said to that must not be lost
        tx.schedule_effect(payments.authorize(order, f"{settings.public_origin}/notify/{gateway}?{carried.query}"))
    tx.insert(store.ROUND_TRIPS, trip)
    tx.set_timer(payments.check_again(order, tx.now))
    return Completed(url=f"{settings.public_origin}/redirect-out?{carried.query}")


@router.get(
    "/redirect-out",
    public=True,
    refuses=(StateInvalid,),
    response_class=Response,
    responses={303: {"description": "The way on"}},  # beside the 200 that was documented once, and never came
)
async def redirect_out(state: StateQuery, language: LanguageDep, tx: TxDep) -> Response:
    """Send the browser on to the gateway; it keeps in a cookie which round trip this is."""
    order = await _order(state, tx)
    cookie = pages.cookie(order, state, tx.settings(ShopSettings))
    return pages.go(f"/tools/POST.html?{Carried(state, language).query}", cookie)


@router.get(
    "/tools/POST.html",
    public=True,
    refuses=(StateInvalid,),
    response_class=Response,
    responses={303: {"description": "There is nothing to pay: the way to the result"}},
)
async def post_to_gateway(state: StateQuery, language: LanguageDep, tx: TxDep) -> Response:
    """A page whose form takes the browser to the gateway, as soon as that expects the payment."""
    order = await _order(state, tx)
    if order.payment != "pending":
        return pages.go(pages.result_path(order, Carried(state, language)))
    return pages.gateway_form(order, language, tx.settings(ShopSettings))


@router.post("/notify/sandbox", public=True, status_code=303, refuses=(StateInvalid,), response_class=Response)
async def hear_sandbox(
    state: StateQuery,
    language: LanguageDep,
    body: RawBody,  # noqa: ARG001 - what it says is a hint
    tx: TxDep,
) -> Response:
    """The browser comes back: the gateway is asked, once for each round trip, and the browser sent to the result."""
    known = states.verify(tx.settings(ShopSettings), state, tx.now)
    trip, order = await tx.get(store.ROUND_TRIPS, known.id), await _order(state, tx)
    if trip is None:
        raise StateInvalid
    if not trip.used:
        tx.put(store.ROUND_TRIPS, trip.over())
        if order.payment in orders.MAY_BE_PAID:
            ask(tx, order)
    return pages.go(pages.result_path(order, Carried(state, language)))


@router.post("/notify/sonet", public=True, status_code=303, refuses=(StateInvalid,), response_class=Response)
async def hear_sonet(state: StateQuery, language: LanguageDep, body: RawBody, tx: TxDep) -> Response:
    """A browser comes back, or So-net itself tells of a payment: it is asked, once for each that is named."""
    order = await _order(state, tx, late=LATE)
    hint = sonet.hint_of(body, order, tx.settings(ShopSettings))
    hinted = orders.hinted(order, hint) if hint and order.gateway == "sonet" else None
    if hinted is not None and order.payment in orders.MAY_BE_PAID:
        tx.put(store.ORDERS, hinted)
        ask(tx, hinted)
    return pages.go(pages.result_path(order, Carried(state, language)))


@router.get("/shop/redirect-in/{session}", public=True, refuses=(StateInvalid,), response_class=Response)
async def redirect_in(session: SessionPath, state: StateQuery, language: LanguageDep, tx: TxDep) -> Response:
    """The end of the round trip: the cookie is cleared, and the page says what came of the order and where to go."""
    order = await _order(state, tx, late=LATE)
    if session != pages.session_of(order):
        raise StateInvalid
    return pages.result(order, outcome(order, tx.now), state, language, tx.settings(ShopSettings))


@router.get("/redirect-in/{session}", public=True, refuses=(StateInvalid,), response_class=Response)
async def redirect_in_alias(session: SessionPath, state: StateQuery, language: LanguageDep, tx: TxDep) -> Response:
    """The same."""
    return await redirect_in(session, state, language, tx)


async def _order(state: str, tx: TxDep, late: timedelta = timedelta()) -> Order:
    """The order of a state that has not expired, or not longer ago than `late`."""
    order = await tx.get(store.ORDERS, states.verify(tx.settings(ShopSettings), state, tx.now - late).order_id)
    if order is None:
        raise StateInvalid
    return order
