"""Events and pushes in a few words: what a story of the demo expects, and what a timeline prints."""

from collections.abc import Callable, Mapping
from typing import Any, Final

KINDS: Final[Mapping[str, str]] = {
    "TriggerExclusiveGoal": "invitation",
    "ExclusiveGoal": "exclusive",
    "ShowFundingGoal": "funding",
    "ShowGoal": "show",
    "TriggerPrivateGoal": "private",
    "KaraokeGoal": "karaoke",
}


def _progress(data: Mapping[str, Any]) -> str:
    """An invitation has no way to go."""
    return "" if data["kind"] == "TriggerExclusiveGoal" else f"{data['progress']} of {data['target']}"


def _for_whom(data: Mapping[str, Any]) -> str:
    """An event says to whom alone, a push only whether it is to somebody."""
    return "exclusive" if data.get("exclusive", data.get("exclusive_to")) else "open"


def _extended(data: Mapping[str, Any]) -> str:
    """A push shows to its viewer alone which payment it was, and to nobody who else gets the time."""
    if data.get("payment_id"):
        return "by a payment"
    return "by the streamer" if "viewers" in data else ""


def _gift(data: Mapping[str, Any]) -> str:
    return f"{data['count']} {data['product_id'].removeprefix('livestream-')}"


PARTICULAR: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "session.updated": _for_whom,
    "session.goal_closed": lambda data: "kept" if data["kept"] else "not kept",
    "goal.progressed": _progress,
    "goal.progress.updated": _progress,
    "goal.extended": _extended,
    "rtc.snapshot_changed": lambda data: "taken" if data["running"] else "none",
    "escrow.settled": lambda data: f"released {data['released']} refunded {data['refunded']}",
    "gift.requested": _gift,
    "gift.sent": _gift,
    "gift.failed": _gift,
}


def brief(name: str, data: Mapping[str, Any]) -> str:
    """`goal.ended invitation agreed`: the name without its version, and what tells it from others of that name."""
    words = [name]
    if kind := data.get("kind"):
        words.append(KINDS.get(kind, kind))
    words += [data[field] for field in ("outcome", "reason") if data.get(field)]
    if name in PARTICULAR:
        words.append(PARTICULAR[name](data))
    return " ".join(filter(None, words))


def figures(data: Mapping[str, Any]) -> str:
    """The money and the time in it, for the timeline."""
    amount, duration = data.get("amount_diamonds"), data.get("duration") or data.get("prepaid_duration")
    price = data.get("currency") and data["amount"]
    known = (
        (f"{price} {data.get('currency')} cents", price),
        (f"{amount} diamonds", amount),
        (f"{duration} s", duration),
    )
    return "  ".join(text for text, there in known if there is not None)
