"""What the shop has: fixed records (SPEC §8). Gifts cost diamonds, everything else costs money.

A product is one of four subtypes. Those of the first days have none: what they are follows from their id.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from chassis.errors import NotFound
from contracts import PassKind
from contracts.shop import Subtype

GIFT = "livestream-gift"
SHOW = "livestream-show"
TICKET = "livestream-show-ticket"
KARAOKE = "karaoke-"
PASS: Final = "livestream_pass"  # noqa: S105 - a kind of ticket, no password

DAY_SECONDS: Final = 86_400


class ProductNotFound(NotFound, slug="product-not-found"):
    """There is no such product."""


@dataclass(frozen=True, slots=True)
class GiftProduct:
    """Something a viewer can give. With a `duration_seconds` it asks the streamer for so long a performance."""

    SUBTYPE: ClassVar[Subtype] = "GiftProduct"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SoldProduct:
    """Something that is bought with money: `amount` in the smallest unit of `currency` (ISO 4217).

    With no subtype of its own it is a product of the first days.
    """

    SUBTYPE: ClassVar[Subtype | None] = None

    id: str
    title: str
    amount: int
    currency: str = "TWD"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiamondPackProduct(SoldProduct):
    """So many diamonds, for the wallet."""

    SUBTYPE: ClassVar[Subtype | None] = "DiamondPackProduct"

    diamonds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserProduct(SoldProduct):
    """Something that a user wears from then on."""

    SUBTYPE: ClassVar[Subtype | None] = "UserProduct"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassProduct(SoldProduct):
    """Paid streaming for `pass_seconds` from its activation on: everywhere, or of one streamer."""

    SUBTYPE: ClassVar[Subtype | None] = "PassProduct"

    pass_kind: PassKind
    pass_seconds: int


GIFTS = (
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
SOLD: tuple[SoldProduct, ...] = (
    DiamondPackProduct(id="diamond_3300", title="100 diamonds", amount=3_300, diamonds=100),
    DiamondPackProduct(id="diamond_29900", title="1 000 diamonds", amount=29_900, diamonds=1_000),
    DiamondPackProduct(id="diamond_149000", title="5 200 diamonds", amount=149_000, diamonds=5_200),
    UserProduct(id="user_badge_patron", title="Badge: patron", amount=9_900),
    PassProduct(id=PASS, title="Pass, 30 days", amount=149_000, pass_kind=PASS, pass_seconds=30 * DAY_SECONDS),
    SoldProduct(id="livestream_pass_7d", title="Pass, 7 days", amount=49_000),
)
LEGACY_PASS_SECONDS: Final = {"livestream_pass_7d": 7 * DAY_SECONDS}
"""What the products without a subtype are: passes for every stream, of so many seconds."""

GIFT_BY_ID = {product.id: product for product in GIFTS}
SOLD_BY_ID = {product.id: product for product in SOLD}


def pass_of_streamer(streamer_id: str) -> PassProduct:
    """The pass that every streamer has: a day of paid streaming of theirs."""
    kind = f"{PASS}_{streamer_id}"
    return PassProduct(
        id=kind, title="Pass of a streamer, 1 day", amount=9_900, pass_kind=kind, pass_seconds=DAY_SECONDS
    )


def streamer_of_pass(product_id: str) -> str | None:
    """The streamer whose pass a product is, if it is one's; its id is that of its kind."""
    rest = product_id.removeprefix(f"{PASS}_")
    is_id = len(rest) == 24 and not set(rest) - set("0123456789abcdef")  # noqa: PLR2004 - an id of ours (SPEC §1)
    return rest if is_id and rest != product_id else None
