"""Escrow on one page: what it listens to, and what it does then."""

from chassis.service import Command, Migration, Service, effect, on, when
from contracts import (
    EscrowCompletedV1,
    EscrowFailedV1,
    EscrowHeldV1,
    EscrowRejectedV1,
    GiftRequestedV1,
    GoalContributionRejectedV1,
    GoalCreatedV1,
    GoalEndedV1,
    GoalLapsedV1,
    GoalProgressedV1,
    GoalProposedV1,
    OrderCreatedV1,
    OrderPaidV1,
    OrderRefundedV1,
    PaymentFailedV1,
    PaymentReversedV1,
    PaymentSucceededV1,
    SessionGoalClosedV1,
    SessionPaymentRequestedV1,
    SessionPaymentReversedV1,
    ViewerBlockedV1,
    ViewerUnblockedV1,
    WalletCreditedV1,
    WalletDebitedV1,
)
from escrow import api, gateway, store
from escrow.domain.blocks import BlockRefundDue
from escrow.domain.books import CountDue, ProofDue
from escrow.domain.escrows import HeldTooLong
from escrow.domain.external_wallet import CreateAccount
from escrow.domain.ledger import FoldDue
from escrow.domain.settlement import SettlementDue
from escrow.domain.verdicts import FundingRefundCheckDue, InvitationRefundCheckDue, RefundCheckDue
from escrow.handlers import books, holds, memory, payments, recount, settlement, verdicts, wallets
from escrow.settings import Settings
from escrow.store import migrations, needs

SERVICE = Service(
    name="escrow",
    router=api.router,
    handlers=(
        on(GoalCreatedV1, holds.remember_promise, needs=needs.of_created),
        on(GoalProposedV1, holds.hold_invitation_price, needs=needs.of_proposal),
        on(GiftRequestedV1, holds.hold_or_charge_gift, needs=needs.of_gift),
        on(GoalProgressedV1, holds.accept_earning, needs=needs.of_answer),
        on(GoalContributionRejectedV1, holds.refund_rejected_earning, needs=needs.of_answer),
        on(ViewerBlockedV1, holds.refund_blocked_viewer, needs=needs.of_block),
        on(ViewerUnblockedV1, holds.unblock_viewer, needs=needs.of_block),
        on(GoalEndedV1, verdicts.trigger_show_escrow_refund, needs=needs.of_ended),
        on(GoalEndedV1, verdicts.trigger_exclusive_goal_escrow_refund),
        on(GoalEndedV1, verdicts.handle_trigger_private_goal_escrow),
        on(GoalLapsedV1, verdicts.judge_lapsed_goal, needs=needs.of_lapsed),
        on(SessionGoalClosedV1, verdicts.judge_closed_goal, needs=needs.of_closed),
        on(OrderCreatedV1, wallets.ensure_wallet_and_bank, needs=needs.of_buyer),
        on(OrderPaidV1, wallets.credit_order, needs=needs.of_order),
        on(OrderRefundedV1, wallets.take_back_order, needs=needs.of_refund),
        on(SessionPaymentRequestedV1, payments.charge_minutes, needs=needs.of_minutes),
        on(SessionPaymentReversedV1, payments.reverse_payment, needs=needs.of_reversal),
    ),
    timers=(
        when(FundingRefundCheckDue, verdicts.check_funding_goal_refundable, needs=needs.of_timer),
        when(InvitationRefundCheckDue, verdicts.check_trigger_exclusive_goal_refundable, needs=needs.of_timer),
        when(SettlementDue, settlement.settle_slice, needs=needs.of_timer),
        when(BlockRefundDue, settlement.refund_blocked_slice, needs=needs.of_block),
        when(FoldDue, books.fold_movements),
        when(CountDue, books.count_held),
        when(ProofDue, books.prove_ledger),
        when(RefundCheckDue, verdicts.check_refundable, needs=needs.of_timer),  # these two an older release has set
        when(HeldTooLong, books.let_go),
    ),
    effects=(
        effect(
            CreateAccount,
            gateway.create_accounts,
            done=wallets.record_account,
            deadline_seconds=gateway.DEADLINE_SECONDS,
            batch=gateway.AT_ONCE,
        ),
    ),
    collections=store.ALL,
    settings=(Settings,),
    migrations=(
        Migration(1, "fold movements for ever", migrations.begin_folding),
        Migration(2, "count what is held for ever", migrations.begin_counting),
        Migration(3, "a reversed payment says how much of it", migrations.tell_reversed),
        Migration(4, "drop an index that another replaces", migrations.drop_replaced_index),
        Migration(5, "drop two indexes that others replace", migrations.drop_unordered_indexes),
        Migration(6, "wallets say what they owe", migrations.note_what_is_owed),
        Migration(7, "prove the ledger for ever", migrations.begin_proving),
    ),
    commands=(
        Command(
            "recount",
            "count balances, counters and statuses anew from the transfers; say, or mend, what differs",
            recount.recount_command,
            options=(recount.WRITE,),
        ),
    ),
    remembers=(
        on(WalletCreditedV1, memory.remember_credit),
        on(WalletDebitedV1, memory.remember_debit),
        on(EscrowHeldV1, memory.remember_hold),
        on(EscrowRejectedV1, memory.remember_refused_hold),
        on(EscrowCompletedV1, memory.remember_release),
        on(EscrowFailedV1, memory.remember_refund),
        on(PaymentSucceededV1, memory.remember_payment),
        on(PaymentFailedV1, memory.remember_failed_payment),
        on(PaymentReversedV1, memory.remember_reversal),
    ),
)
