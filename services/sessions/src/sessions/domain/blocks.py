"""Blocks: whom a streamer keeps away (SPEC §4)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from chassis.decision import derived_id
from chassis.errors import Invalid

BEFORE_IT_WAS_NOTED: Final = datetime(2026, 1, 1, tzinfo=UTC)  # when a block began; older ones stand first in the list


@dataclass(frozen=True, slots=True)
class Block:
    """A streamer has blocked a viewer, and when. `id` names both."""

    id: str
    streamer_id: str
    viewer_id: str
    at: datetime = BEFORE_IT_WAS_NOTED


class BlockOfOneself(Invalid, slug="block-of-oneself"):
    """A streamer cannot block themself."""


def block_id(streamer_id: str, viewer_id: str) -> str:
    """The id of the block of this viewer by this streamer, whether there is one or not."""
    return derived_id("block", streamer_id, viewer_id)
