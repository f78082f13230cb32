"""The words of the wire: ids, money, time and the few names that several owners' events share (SPEC §1)."""

import unicodedata
from datetime import datetime
from typing import Annotated, Final, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


def _rfc3339(value: datetime) -> str:
    """Write an instant in UTC with milliseconds: `2026-11-21T11:35:00.123Z`."""
    return f"{value.isoformat(timespec='milliseconds')[:-6]}Z"  # the schema below admits offset +00:00 only


class _UtcInstant:
    """Validates in pydantic's core, without a call into Python: thousands of events a second are read."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.datetime_schema(
            strict=True,
            tz_constraint=0,
            serialization=core_schema.plain_serializer_function_ser_schema(
                _rfc3339, return_schema=core_schema.str_schema(), when_used="json"
            ),
        )


Instant = Annotated[datetime, _UtcInstant]
"""A moment in UTC, to the millisecond; any other offset, and none, is refused. RFC 3339 on the wire."""


class _OpenSet:
    """Reads any short word, and lists those of its `Literal` in the schema as documentation."""

    WORD_LENGTH_MAX: Final = 64
    """Characters; ours have at most 24. A limit, so that nobody sends a text where a word is meant."""

    def __get_pydantic_core_schema__(self, source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        known = [word for member in get_args(source) for word in get_args(member)]
        return core_schema.str_schema(
            strict=True, min_length=1, max_length=self.WORD_LENGTH_MAX, metadata={"known_values": known}
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "x-known-values": schema["metadata"]["known_values"]}


_Known = TypeVar("_Known", bound=str)

Open = Annotated[_Known | str, _OpenSet()]
"""`Open[Outcome]`: a word of a set that may grow. A consumer carries one that it does not know and acts on it as on
none; so a new one is no break (SPEC §9). Producers keep to the `Literal`."""

Seconds = Annotated[int, Field(strict=True, ge=0, le=10**9)]
"""A duration in whole seconds."""

Diamonds = Annotated[int, Field(strict=True, ge=0, le=10**12)]
"""An amount of money, in whole diamonds."""

Price = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
"""Diamonds per step (SPEC §4)."""

STEPS_MAX: Final = 60
"""How many steps of time are bought at once, at most (SPEC §3, §4)."""

GIFTS_MAX: Final = 100
"""How many pieces of a product are given at once, at most (SPEC §8)."""

Count = Annotated[int, Field(strict=True, ge=0, le=10**12)]
"""How many: tickets, performed seconds, diamonds or people, as the field says."""

ObjectIdStr = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{24}$")]
"""An id of ours: a MongoDB ObjectId as 24 lower-case hex digits."""

Token = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")]
"""An id that is not ours to shape (a client, a room, a vendor's task, a cause): printable ASCII without blanks."""

ProductId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
"""A fixed record of the shop, such as `livestream-show-ticket_1200`."""

EscrowId = Annotated[str, StringConstraints(pattern=r"^(show_funding|trigger_exclusive|trigger_private):[0-9a-f]{24}$")]
"""The escrow of one promise: its kind, and the id of the goal that made it (SPEC §5)."""

PassKind = Annotated[str, StringConstraints(pattern=r"^livestream_pass(_[0-9a-f]{24})?$")]
"""A pass for every stream, or for the streamer it names (SPEC §8)."""

Title = Annotated[str, StringConstraints(min_length=1, max_length=100)]


_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Unicode's controls, format characters (zero-width, direction), halves of pairs, private ones, line ends."""

_NOTHING_ALONE: Final = _UNSEEN | {"Zs", "Mn", "Mc", "Me"}
_BLANKS: Final = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols that are drawn as nothing
_JOINERS: Final = "\u200c\u200d"  # inside a word of Persian or Hindi, and between the parts of one emoji


def _legible(title: str) -> str:
    """Refuse what shows nothing, and what changes how the text around it is shown."""
    categories = [unicodedata.category(character) for character in title]
    if all(of in _NOTHING_ALONE or one in _BLANKS for one, of in zip(title, categories, strict=True)):
        raise ValueError("must show something")
    inside = range(1, len(title) - 1)
    for place, (character, category) in enumerate(zip(title, categories, strict=True)):
        if category in _UNSEEN and not (character in _JOINERS and place in inside):
            raise ValueError("must not hold control, direction or zero-width characters")
    return title


LegibleTitle = Annotated[Title, AfterValidator(_legible)]
"""A `Title` as a caller may give it today; on events stands what was taken then."""

Preset = Literal["preview", "sd"]
"""What a viewer may watch: free or paid streaming."""

PricePreset = Literal["sd", "exclusive"]
"""Which price of a session counts: that of watching, or of being the only one who watches."""

Viewers = Annotated[tuple[ObjectIdStr, ...], Field(max_length=10)]
"""The few viewers of an exclusive (one, today). Never a list that grows with the audience."""


class Data(BaseModel):
    """Frozen data. A field that defaults to None is left off the wire; any other is always there, null or not.

    Unknown fields are ignored on reading, so that an optional field can be added to a released version.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
