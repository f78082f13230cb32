"""Gift products: fixed records (SPEC §8)."""

from dataclasses import dataclass

GIFT = "livestream-gift"
SHOW = "livestream-show"
TICKET = "livestream-show-ticket"
KARAOKE = "karaoke-"


@dataclass(frozen=True, slots=True)
class GiftProduct:
    """Something a viewer can give. With a `duration_seconds` it asks the streamer for so long a performance."""

    id: str
    title: str
    price_diamonds: int
    categories: tuple[str, ...]
    duration_seconds: int | None = None

    @property
    def is_ticket(self) -> bool:
        """Whether it buys a place in a crowd-funded show."""
        return TICKET in self.categories

    @property
    def asks_for_performance(self) -> bool:
        """Whether the streamer does something for it, at once."""
        return self.id.startswith(KARAOKE)


PRODUCTS = (
    GiftProduct("livestream-show-ticket_134", "Show ticket", 134, (SHOW, TICKET)),
    GiftProduct("livestream-show-ticket_1200", "Show ticket, first row", 1_200, (SHOW, TICKET)),
    GiftProduct("livestream-gift_rose", "Rose", 10, (GIFT,)),
    GiftProduct("livestream-gift_cake", "Cake", 99, (GIFT,)),
    GiftProduct("livestream-gift_fireworks", "Fireworks", 520, (GIFT,)),
    GiftProduct("livestream-gift_castle", "Castle", 5_200, (GIFT,)),
    GiftProduct("karaoke-cheer", "Cheer", 20, (GIFT,)),
    GiftProduct("karaoke-dance_30", "Dance for half a minute", 150, (GIFT,), duration_seconds=30),
    GiftProduct("karaoke-song_60", "Sing for a minute", 300, (GIFT,), duration_seconds=60),
)

BY_ID = {product.id: product for product in PRODUCTS}
