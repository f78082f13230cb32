"""What happened, in order, for people: a story of the demo, or what `devstack follow` found."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Source = Literal["HTTP", "KAFKA", "PUSH", "LEDGER"]

HEAD = "  seconds  since the click  what"
TIMED: frozenset[Source] = frozenset({"KAFKA", "PUSH"})  # what follows from a click by itself; we ask the ledger


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. Whatever follows from a command over HTTP is timed from it: the click."""

    at: float
    """Unix seconds."""
    source: Source
    text: str


def rendered(lines: Iterable[Line]) -> list[str]:
    """The lines by time: seconds since the first, milliseconds since the click before, source, text."""
    ordered = sorted(lines, key=lambda line: line.at)
    clicks = [line.at for line in ordered if line.source == "HTTP"]
    return [_rendered(line, ordered[0].at, clicks) for line in ordered]


def _rendered(line: Line, start: float, clicks: list[float]) -> str:
    before = bisect_right(clicks, line.at)
    since = f"+{(line.at - clicks[before - 1]) * 1_000:.0f} ms" if before and line.source in TIMED else ""
    return f"  {line.at - start:7.3f}  {since:>15}  {line.source:6}  {line.text}"
