"""The version in an event's type: `goal.ended.v1` is version 1 of `goal.ended`. Nobody else takes a type apart."""

import re
from functools import lru_cache
from typing import Final, NamedTuple

NUMBER: Final = re.compile(r"[1-9][0-9]{0,4}")


class VersionedName(NamedTuple):
    """What a type is made of."""

    name: str
    """Empty where there is no version at all."""
    version: int
    """0 where it is no number from 1 to 99 999."""


@lru_cache(maxsize=1_024)  # there are some dozens; asked for each record that nobody listens to
def parse_type(type_: str) -> VersionedName:
    """Take a type apart, whoever has made it up."""
    name, _, number = type_.rpartition(".v")
    return VersionedName(name, int(number) if NUMBER.fullmatch(number) else 0)
