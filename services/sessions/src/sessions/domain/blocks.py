"""Blocks: whom a streamer keeps away (SPEC §4)."""

from dataclasses import dataclass

from chassis.decision import derived_id
from chassis.errors import Invalid


@dataclass(frozen=True, slots=True)
class Block:
    """A streamer has blocked a viewer. `id` names both."""

    id: str
    streamer_id: str
    viewer_id: str


class BlockOfOneself(Invalid, slug="block-of-oneself"):
    """A streamer cannot block themself."""


def block_id(streamer_id: str, viewer_id: str) -> str:
    """The id of the block of this viewer by this streamer, whether there is one or not."""
    return derived_id("block", streamer_id, viewer_id)
