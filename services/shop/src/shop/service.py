"""Shop on one page: what it listens to, and what it does then."""

from chassis.service import Service, effect, on, when
from contracts import (
    EscrowFailedV1,
    EscrowRejectedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalProgressedV1,
    PaymentFailedV1,
    PaymentSucceededV1,
    SessionEndedV1,
    SessionStartedV1,
    SessionUpdatedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
    WalletCreditedV1,
    WalletDebitedV1,
)
from shop import api, store
from shop.domain.orders import PaymentCheckDue
from shop.domain.payments import AuthorizePayment, ConfirmPayment
from shop.domain.reconciliation import FetchStatement
from shop.gateway import calls
from shop.handlers import gifts, orders, payments, statements
from shop.settings import ShopSettings

SERVICE = Service(
    name="shop",
    router=api.router,
    handlers=(
        on(SessionStartedV1, gifts.follow_session, needs=store.of_session),
        on(SessionUpdatedV1, gifts.follow_session, needs=store.of_session),
        on(SessionEndedV1, gifts.follow_session, needs=store.of_session),
        on(ViewerBlockedV1, gifts.follow_block),
        on(ViewerUnblockedV1, gifts.follow_unblock),
        on(GoalCreatedV1, gifts.follow_goal, needs=store.of_goal),
        on(GoalEndedV1, gifts.follow_goal, needs=store.of_goal),
        on(GoalProgressedV1, gifts.send_counted_gift, needs=store.of_gift),
        on(GoalContributionRejectedV1, gifts.fail_rejected_gift, needs=store.of_gift),
        on(EscrowRejectedV1, gifts.fail_unheld_gift, needs=store.of_gift),
        on(EscrowFailedV1, gifts.remember_refund, needs=store.of_gift),
        on(PaymentSucceededV1, gifts.send_paid_gift, needs=store.of_gift),
        on(PaymentFailedV1, gifts.fail_unpaid_gift, needs=store.of_gift),
        on(WalletCreditedV1, orders.fulfill_credited_order, needs=store.of_wallet),
        on(WalletDebitedV1, orders.record_debit, needs=store.of_wallet),
    ),
    timers=(when(PaymentCheckDue, payments.check_payment, needs=store.of_check),),
    effects=(
        effect(
            AuthorizePayment,
            calls.authorize,
            done=payments.record_authorization,
            deadline_seconds=calls.DEADLINE_SECONDS,
            batch=calls.AT_ONCE,
        ),
        effect(
            ConfirmPayment,
            calls.confirm,
            done=payments.record_answer,
            deadline_seconds=calls.DEADLINE_SECONDS,
            batch=calls.AT_ONCE,
            every_answer=True,
        ),
        effect(
            FetchStatement,
            calls.fetch_statement,
            done=statements.record_statement,
            deadline_seconds=calls.DEADLINE_SECONDS,
        ),
    ),
    collections=store.ALL,
    settings=(ShopSettings,),
)
