"""What happened in a story, in order, for people."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Source = Literal["HTTP", "KAFKA", "PUSH", "LEDGER"]

WIDTH = 108  # of the text, so that the milliseconds stand in a column


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. A click is a command over HTTP: what comes after it is timed from it."""

    at: float
    """Unix seconds."""
    source: Source
    text: str
    click: bool = False


def rendered(lines: Iterable[Line]) -> list[str]:
    """The lines by time: seconds since the first, source, text, and the milliseconds since the click before."""
    ordered = sorted(lines, key=lambda line: line.at)
    clicks = [line.at for line in ordered if line.click]
    return [_rendered(line, ordered[0].at, clicks) for line in ordered]


def _rendered(line: Line, start: float, clicks: list[float]) -> str:
    before = bisect_right(clicks, line.at)
    since = f"+{(line.at - clicks[before - 1]) * 1_000:.0f} ms" if before and not line.click else ""
    return f"  {line.at - start:7.3f}  {line.source:6}  {line.text:{WIDTH}}{since:>10}".rstrip()
