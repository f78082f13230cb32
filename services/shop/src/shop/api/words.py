"""What the pages of a round trip say, and in which of their languages."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

from fastapi import Depends, Header, Query

from shop.domain.trips import Outcome

Language = Literal["en", "zh-Hant"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
RANGES_MAX: Final = 20  # of an `Accept-Language`; browsers send five

_RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9]{1,8})*\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?)\s*)?")


@dataclass(frozen=True, slots=True)
class Words:
    """What one language says: of each outcome a heading and what to do; the links and buttons."""

    outcomes: Mapping[Outcome, tuple[str, str]]
    wait: str
    to_payment: str
    pay: str
    look_again: str
    order: str
    back: str
    close: str


WORDS: Final[Mapping[Language, Words]] = {
    "en": Words(
        outcomes={
            "paid": ("Paid. Thank you.", "What you bought is in your wallet or your backpack in a moment."),
            "confirming": (
                "The payment is being confirmed.",
                "This page looks again by itself. You may close it: what you paid counts all the same.",
            ),
            "unpaid": (
                "This order has not been paid.",
                "You can still pay for it. If you have paid, look again in a minute.",
            ),
            "late": (
                "The time to pay for this order is over.",
                "If you have paid, it counts as soon as the payment service says so. If not, order again.",
            ),
            "refused": ("The payment was cancelled or refused.", "Nothing was bought. You can order again."),
            "expired": ("This order was not paid in time.", "Nothing was bought. You can order again."),
            "review": (
                "The payment is being looked at.",
                "It is not what the order costs, so a person looks at it. Please do not pay again.",
            ),
            "refunded": ("The money has been given back.", "This order is over. You can order again."),
        },
        wait="One moment.",
        to_payment="Go on to the payment",
        pay="Pay now",
        look_again="Look again",
        order="Order",
        back="Back to Footlights",
        close="You can close this page.",
    ),
    "zh-Hant": Words(
        outcomes={
            "paid": ("付款完成，謝謝您。", "您購買的商品稍後就會出現在您的錢包或背包中。"),
            "confirming": ("正在確認付款。", "本頁會自動更新。您也可以關閉本頁，已付的款項仍然有效。"),
            "unpaid": ("這筆訂單尚未付款。", "您仍然可以付款。如果您已經付款，請於一分鐘後再次查看。"),
            "late": ("這筆訂單的付款期限已過。", "如果您已經付款，待金流服務確認後即生效；否則請重新下單。"),
            "refused": ("付款已取消或遭拒絕。", "沒有購買任何商品，您可以重新下單。"),
            "expired": ("這筆訂單未在期限內付款。", "沒有購買任何商品，您可以重新下單。"),
            "review": ("款項正在審核。", "款項與訂單金額不符，將由專人處理，請勿再次付款。"),
            "refunded": ("款項已退還。", "這筆訂單已結束，您可以重新下單。"),
        },
        wait="請稍候。",
        to_payment="前往付款頁面",
        pay="立即付款",
        look_again="再次查看",
        order="訂單",
        back="返回 Footlights",
        close="您可以關閉本頁。",
    ),
}


def language_of(wanted: str, accepted: str) -> Language:
    """The language that is wanted, else the one that a browser likes best (RFC 9110 §12.5.4), else English.

    Any Chinese is answered in the one that there is.
    """
    ranges = [found for one in accepted.split(",")[:RANGES_MAX] if (found := _RANGE.fullmatch(one))]
    liked = sorted((one for one in ranges if float(one[2] or 1)), key=lambda one: -float(one[2] or 1))
    for said in (_RANGE.fullmatch(wanted), *liked):
        known = next((one for one in LANGUAGES if said and one.partition("-")[0] == said[1].lower()), None)
        if known is not None:
            return known
    return "en"


def _language(
    lang: Annotated[str, Query(description="The page's language, such as `en` or `zh-Hant`")] = "",
    accept_language: Annotated[str, Header(description="The same, where `lang` says nothing")] = "",
) -> Language:
    return language_of(lang, accept_language)


LanguageDep = Annotated[Language, Depends(_language)]
"""In which language a page answers this request."""
