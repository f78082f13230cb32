"""Diamonds that were bought with money: what is told of each order item's (SPEC §8). Pure."""

from contracts import OrderPaidV1, WalletCreditedV1


def diamonds_bought(event: OrderPaidV1) -> tuple[WalletCreditedV1, ...]:
    """What comes into the buyer's wallet, an entry for each item; the cause of its transfer is `order_id:item_id`."""
    return tuple(
        WalletCreditedV1(
            user_id=event.user_id,
            amount_diamonds=item.diamonds * item.quantity,
            cause_id=f"{event.order_id}:{item.item_id}",
        )
        for item in event.items
        if item.diamonds and item.quantity
    )
