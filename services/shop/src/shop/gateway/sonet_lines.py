"""How So-net's servers answer: one line, `name|name|…` TAB `value|value|…`, in which nothing is escaped.

A bar inside of a message would shift every value after it, so a line that could be read in two ways is not read at all.
"""

from typing import Final

from shop.domain.payments import Unknown

BYTES_MAX: Final = 4_096  # an answer has some 200
NAMES: Final = frozenset(
    {
        "resultCode",
        "resultMesg",
        "authCode",
        "authRelyDateTime",
        "confirmDateTime",
        "icpId",
        "icpOrderId",
        "icpProdId",
        "icpUserId",
        "memo",
        "mpId",
        "orderDateTime",
        "price",
        "sonetOrderNo",
    }
)
"""What So-net is known to tell."""


def read(body: bytes) -> dict[str, str]:
    """What a line says, by name; `resultCode` is always there. Raises Unknown: it is no such line, to the letter."""
    if len(body) > BYTES_MAX:
        raise Unknown("its answer is too long")
    try:
        line = body.decode()
    except UnicodeDecodeError:
        raise Unknown("its answer is no UTF-8") from None
    names, tab, rest = line.removesuffix("\n").removesuffix("\r").partition("\t")
    if not tab or any(ord(char) < ord(" ") for char in rest):
        raise Unknown("its answer is not one line")
    keys, values = names.split("|"), rest.split("|")
    if len(keys) != len(values) or len(set(keys)) != len(keys) or not set(keys) <= NAMES:
        raise Unknown("its answer is not a value for each name")
    said = dict(zip(keys, values, strict=True))
    if not said.get("resultCode"):
        raise Unknown("its answer has no result")
    return said
