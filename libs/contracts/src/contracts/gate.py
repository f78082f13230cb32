"""What a change of something released would break, for whom, and what to do instead: in words for a newcomer."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from contracts.compatibility import Schema, incompatibilities
from contracts.consumers import Consumer, read_consumers
from contracts.released import State
from contracts.versions import parse_type


class Gate:
    """Refuses what breaks a promise. Knows who consumes what from the files in `consumers`."""

    def __init__(self, consumers: Path) -> None:
        self._consumers = read_consumers(consumers)

    def refusal(self, promised: Iterable[State], current: Mapping[str, Schema]) -> str:
        """Say what breaks and whom; empty if every promise is kept."""
        found: dict[str, list[str]] = {}
        for state in promised:
            found.setdefault(state.type, []).extend(broken(state, current.get(state.type)))
        parts = [self._about(type_, list(dict.fromkeys(lines))) for type_, lines in sorted(found.items()) if lines]
        return "\n".join([*parts, ""]) if parts else ""

    def _about(self, type_: str, lines: list[str]) -> str:
        name, version = parse_type(type_)
        readers = [consumer for consumer in self._consumers if type_ in consumer.reads]
        said = [f"{type_} is released, and this change breaks it:"]
        for line in lines:
            hit = [consumer.name for consumer in readers if _reads(consumer, type_, line)]
            said.append(f"  - {line}" + (f"   <- read by {', '.join(hit)}" if hit else ""))
        named = ", ".join(consumer.name for consumer in readers) or "nobody that we know of"
        return "\n".join(
            [
                *said,
                "  A released event is never edited: messages of it are kept and read again, and who reads it is not",
                "  deployed in the same moment. An optional field may be added (`field: X | None = None`). Otherwise:",
                f"  1. leave {type_} as it was, and declare {name}.v{version + 1} beside it;",
                f"  2. roll out first who consumes it: {named};",
                f"  3. then its publisher, which tells both; {type_} stays while anybody reads it.",
                "  What never was on the main branch is taken out of the commit that brought it, with its file in",
                "  libs/contracts/released and its line in the index there. See docs/adding-an-event.md.",
            ]
        )


def broken(old: State, new: Schema | None) -> list[str]:
    """What something released promised and does not keep any more."""
    if new is None:
        return ["it was removed"]
    if new["x-draft"]:
        return ["it is a draft again"]
    return incompatibilities(old.schema, new)


def _reads(consumer: Consumer, type_: str, line: str) -> bool:
    """Whether a line about `data.a.b` concerns a consumer who reads a, a.b, or something below."""
    at = line.split(" ", 1)[0].removesuffix(":")
    if not at.startswith("data."):
        return True
    path = _steps(at.removeprefix("data."))
    return any(path[: len(field)] == field[: len(path)] for field in map(_steps, consumer.reads[type_]))


def _steps(path: str) -> list[str]:
    return path.replace("[]", "").split(".")
