"""The fixed gift products, by what services must agree on: which exist, and which of them are tickets (SPEC §8)."""

from typing import Final

TICKET_PRODUCT_IDS: Final = frozenset({"livestream-show-ticket_134", "livestream-show-ticket_1200"})
"""Gifts that buy a place in a crowd-funded show, and are never anything else."""

GIFT_PRODUCT_IDS: Final = TICKET_PRODUCT_IDS | {
    "livestream-gift_rose",
    "livestream-gift_cake",
    "livestream-gift_fireworks",
    "livestream-gift_castle",
    "karaoke-cheer",
    "karaoke-dance_30",
    "karaoke-song_60",
}
"""Every gift product. Their titles and prices are the shop's."""
