"""What each field means: one name, one meaning, whichever event carries it. The schemas carry these sentences.

A name that means something more particular in one class, or in a family of classes, stands here as `Class.name` too.
`make generate` refuses a field without a sentence; a test refuses a sentence without a field.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

MEANINGS: Final = {
    "activated": "How many pieces are in use and stay; absent of diamonds, of which escrow says what it took.",
    "active": "Whether it is on now, as this event leaves it.",
    "agreed": "When the streamer agreed; null if that never happened, or nobody had to.",
    "amount": "Money, in the smallest unit of `currency`.",
    "amount_diamonds": "Diamonds that this is about.",
    "buyer_id": "The user whose money it is.",
    "categories": "Where an app shows the product.",
    "cause_id": "What asked for it, and by what it happens once only.",
    "conditions": "Where the goal counts, and for whom alone.",
    "context": "What the goal is about.",
    "contribution_id": "The contribution: the same as `earning_id`.",
    "count": "How many pieces were paid.",
    "created": "When the session began.",
    "credited_by": "The operator who gave them; nobody gave what was bought.",
    "currency": "ISO 4217, in capitals.",
    "diamonds": "How many diamonds are in one piece; absent if it is no diamond pack.",
    "discount_percentage": "How much less an early bird costs than a regular ticket.",
    "earning_id": "One buyer's held money: what will be the streamer's earning, or goes back.",
    "ended": "When the session ended; null while it is on.",
    "ended_at": "When the goal ended: at its `exp` at the latest, however late that was noticed.",
    "escrow_id": "The escrow of the promise: its kind, and the id of the goal that made it.",
    "exclusive": "What a step of an invitation to a 1-on-1 costs; absent if not for sale.",
    "exclusive_goal_id": "The 1-on-1 that it belongs to.",
    "exclusive_to": "Whose alone it is; without anybody here it is everybody's.",
    "exp": "When it is over.",
    "funding_goal_id": "The funding that the show follows, or that the ticket is of.",
    "gateway": "The payment service that the order is paid at.",
    "gift_id": "The gift that it is about.",
    "goal_id": "The goal that it is about.",
    "hesitation_countdown": "Seconds after an unfunded end in which the streamer may begin the show all the same.",
    "item_id": "One line of the order; with the order's id it is what its diamonds are credited by.",
    "items": "What was ordered.",
    "kept": "Whether what was promised was performed.",
    "kind": "The kind of the goal.",
    "levels": "The marks on the way to the target, lowest first.",
    "metadata": "Whose goal it is, and what was agreed.",
    "missing_diamonds": "How many are still missing: spent, and not come back into the wallet.",
    "nbf": "When it begins.",
    "order_id": "The order.",
    "outcome": "How the goal came out; the money depends on it.",
    "pass_kind": "`livestream_pass` for every stream, with an underscore and a streamer's id for that one.",
    "payer_id": "The viewer who pays.",
    "payment_id": "The payment that it is about.",
    "perform_duration": "Seconds that the show lasts.",
    "prepaid_duration": "Seconds that the viewer has bought.",
    "preset": "What is watched: `preview` is free streaming, `sd` is paid streaming.",
    "prices": "What watching costs.",
    "private": "Whether a private goal that was kept still lets the viewer watch.",
    "product_id": "What was bought: a fixed record of the shop.",
    "progress": "How far the goal is, in the unit of its target.",
    "purpose": "What was paid for.",
    "quantity": "How many pieces of the product.",
    "reached": "Whether the target is met with it.",
    "reason": "Why. The set may grow: act on a word that you do not know as on none.",
    "refunded": "How many earnings went back to their buyers.",
    "refunded_by": "The operator who said so.",
    "released": "How many earnings became the streamer's.",
    "remaining": "All that the viewer still has; it replaces what was known.",
    "room_id": "The vendor's room of the source.",
    "running": "Whether snapshots are made, as far as is known.",
    "sd": "What a step of paid streaming costs; absent if not for sale.",
    "sender_id": "The viewer who gives.",
    "session_id": "The broadcast that it belongs to.",
    "show_goal_id": "The show that followed; absent if none has yet.",
    "since": "Since when it is so.",
    "sources": "The cameras and encoders on air.",
    "statuses": "When the session began, and when it ended.",
    "streamer_id": "The streamer whose session, goal or money it is.",
    "subtype": "What kind of product it is.",
    "target": "How much is wanted, in the unit of the goal's progress.",
    "task_id": "The vendor's task that makes the snapshots.",
    "ticket": "Whether a ticket still lets the viewer watch.",
    "ticket_exp": "Until when they let watch at the latest.",
    "ticket_goal_id": "The funding whose tickets let watch: of the show that is on, or announced. Absent: none does.",
    "ticket_nbf": "From when on they let watch.",
    "ticket_product_id": "The ticket that is sold for it.",
    "ticket_product_type": "`earlybird` for a ticket that costs less, else `regular`.",
    "title": "What the streamer calls this mark.",
    "trigger_exclusive_goal_id": "The invitation that the 1-on-1 follows.",
    "triggerer": "The client that ended it; null if time or the session's end did.",
    "type": "What the goal is, as `POST /goals` names it; it decides which of the other fields are there.",
    "user_id": "The user that it is about.",
    "verdict": "Whether the money was released to the streamer or refunded to its buyers.",
    "viewer_id": "The viewer that it is about.",
    "viewers": "The few viewers of the 1-on-1.",
    # -- more particular -----------------------------------------------------------------------------------------------
    "Conditions.session_id": "The broadcast in which the goal counts.",
    "Context.duration": "Seconds that the 1-on-1, or the song, is to last.",
    "Context.exclusive_goal_id": "The 1-on-1 that followed this invitation.",
    "EscrowHeldV1.cause_id": "The goal (an invitation) or the gift that asked for it.",
    "EscrowRejectedV1.cause_id": "The goal (an invitation) or the gift that asked for it.",
    "GiftEvent.duration": "Seconds that the song lasts which the gift asks for; absent if it asks for none.",
    "GiftEvent.exclusive_to": "Its sender, if the session was that viewer's alone: then it is those two people's.",
    "GiftEvent.goal_id": "The goal that it was given for.",
    "GiftRequestedV1.exp": "Until when its money may be taken: who reads it later takes nothing.",
    "GoalCreatedV1.exp": "Until when the promise is open; it can still move.",
    "GoalCreatedV1.nbf": "When it begins to count; null: at once.",
    "GoalEndedV1.exp": "When it was over, however long it might have lasted.",
    "GoalExtendedV1.duration": "By how many seconds it became longer.",
    "GoalExtendedV1.exp": "Until when it lasts now.",
    "GoalExtendedV1.payment_id": "The payment that the time was bought with; absent: the streamer gives it.",
    "GoalExtensionRejectedV1.duration": "Seconds of the payment that are not given; absent: all of them.",
    "GoalProgressedV1.count": "How many tickets or gifts were paid with it.",
    "GoalProgressedV1.progress": "The total after it: tickets of a funding, diamonds of a private goal.",
    "GoalProgressedV1.user_id": "The buyer.",
    "GoalContributionRejectedV1.user_id": "The buyer.",
    "GoalProposedV1.exp": "Until when its money may be held: who reads it later holds nothing.",
    "GoalRejectedV1.user_id": "The viewer who asked.",
    "Metadata.user_id": "The streamer.",
    "OrderRefundedV1.items": "What had been paid for as it was ordered; nothing of an order that never was.",
    "OrderRefundedV1.payment": "`refunded`: given back by us · `charged_back`: fetched through the payer's bank.",
    "PassActivatedV1.streamer_id": "The streamer whose streams it opens; absent: everybody's.",
    "PassGrantedV1.exp": "Null: a pass has no time before it is activated.",
    "PassGrantedV1.nbf": "Null: a pass has no time before it is activated.",
    "PassGrantedV1.streamer_id": "The streamer whose streams it opens; absent: everybody's.",
    "PaymentEvent.duration": "Seconds that were bought; absent for a gift.",
    "PaymentEvent.preset": "Whose price was paid for the minutes; absent for a gift.",
    "PermissionEvent.escrow_id": "The escrow that its money is in; absent if it was not held.",
    "PermissionEvent.goal_id": "The goal that it follows from.",
    "PresenceCountedV1.preset": "What the counted ones watch.",
    "PresenceCountedV1.viewers": "How many they are.",
    "Remaining.exp": "When the paid time ends; null: none is left.",
    "Remaining.nbf": "When the paid time begins; null: none is left.",
    "SessionGoalAddedV1.nbf": "When it begins to count; absent: at once.",
    "SessionGoalAddedV1.exp": "Until when the promise is open; it can still move.",
    "SessionPaymentRequestedV1.duration": "Seconds that are bought.",
    "SessionPaymentRequestedV1.exp": "Until when its money may be taken: who reads it later takes nothing.",
    "SessionPaymentRequestedV1.preset": "Whose price is paid: that of watching, or of the 1-on-1.",
    "SessionPaymentReversedV1.duration": "Seconds that are taken back; absent: all that the payment bought.",
    "SessionState.exp": "When the session is over at the latest, whether or not an end was told.",
    "SessionViewerAuthorizedV1.duration": "Seconds that this cause gave; null if it gives no time.",
    "SessionViewerAuthorizedV1.exp": "When the viewer's whole paid time ends; null if this cause gives no time.",
    "SessionViewerAuthorizedV1.nbf": "When the viewer's whole paid time began; null if this cause gives no time.",
    "Source.kind": "What it is: a camera, an encoder.",
    "Source.preset": "Whose tokens open the room; absent: those of the session's preset.",
    "ViewerBlockedV1.viewer_id": "Who is blocked.",
    "ViewerUnblockedV1.viewer_id": "Who is not blocked any more.",
    "WalletCreatedV1.amount_diamonds": "What is in it at first.",
    "WalletCreditedV1.cause_id": "The transfer, or the order and its item, as `order_id:item_id`.",
    "WalletDebitedV1.amount_diamonds": "What was taken out of the wallet now.",
    "WalletDebitedV1.cause_id": "The order and its item that had brought them, as `order_id:item_id`.",
    "WalletDebitedV1.from_cause_id": (
        "What had come back into the wallet, of which this was taken later: an `earning_id`, or the reversal of a "
        "payment, as `payment_id:event_id`; null: it was taken when the order was refunded."
    ),
}


def describe(schema: dict[str, Any], names: Mapping[str, Sequence[str]]) -> None:
    """Write each property's meaning into a schema and its parts; one that has none stays without.

    `names` has, by the title of a schema, the classes that it may be called after, the most particular first; a part
    that is not named there has its own alone.
    """
    for title, name, said in properties(schema):
        keys = [*(f"{one}.{name}" for one in names.get(title, (title,))), name]
        text = next((MEANINGS[key] for key in keys if key in MEANINGS), None)
        if text is not None:
            said["description"] = text


def undescribed(schemas: Iterable[dict[str, Any]]) -> list[str]:
    """The fields of which nothing says what they mean, as `Class.name`."""
    return sorted(
        {f"{title}.{name}" for one in schemas for title, name, said in properties(one) if "description" not in said}
    )


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every property of a schema and of its parts: the part's title, its name, and what is said of it."""
    for part in (schema, *schema.get("$defs", {}).values()):
        for name, said in part.get("properties", {}).items():
            yield part["title"], name, said
