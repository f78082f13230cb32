"""Channels: their names, and whose they are (SPEC §6)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from contracts.values import Preset

ChannelKind = Literal[
    "presence-stream", "private-stream", "private-user", "presence-stream-viewer", "presence-enc-stream-viewer"
]

_PRESETS: Mapping[str, frozenset[str | None]] = {
    "presence-stream": frozenset({None}),
    "private-stream": frozenset({None}),
    "private-user": frozenset({None}),
    "presence-stream-viewer": frozenset({"preview", "sd"}),
    "presence-enc-stream-viewer": frozenset({"sd"}),
}
"""The families, and what may follow the owner in a name of each: nothing, or a preset and a viewer."""

_ID = "[0-9a-f]{24}"
_NAME = re.compile(rf"(?P<kind>[a-z-]+)@(?P<owner>{_ID})(?:\.(?P<preset>preview|sd)\.(?P<viewer>{_ID}))?")


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel. The pushes on all channels of one owner, streamer or user, are numbered together."""

    kind: ChannelKind
    owner_id: str
    preset: Preset | None = None
    viewer_id: str | None = None

    @property
    def name(self) -> str:
        """Its name on Pusher; `channel_of` is the inverse."""
        suffix = "" if self.preset is None else f".{self.preset}.{self.viewer_id}"
        return f"{self.kind}@{self.owner_id}{suffix}"

    @property
    def is_kept(self) -> bool:
        """Whether what is pushed here is kept, for its owner to catch up."""
        return self.kind == "private-user"

    @property
    def has_members(self) -> bool:
        """Whether those who listen are shown to each other (Pusher's presence channels)."""
        return self.kind.startswith("presence-")


def channel_of(name: str) -> Channel | None:
    """The channel of this name, or None: what is not exactly one of ours is nobody's."""
    match = _NAME.fullmatch(name)
    if match is None or match["preset"] not in _PRESETS.get(match["kind"], ()):
        return None
    kind, preset = cast("ChannelKind", match["kind"]), cast("Preset | None", match["preset"])
    return Channel(kind, match["owner"], preset, match["viewer"])


def user(*user_ids: str) -> tuple[Channel, ...]:
    """Users' own channels."""
    return tuple(Channel("private-user", user_id) for user_id in dict.fromkeys(user_ids))


def everybody(streamer_id: str) -> tuple[Channel, ...]:
    """Everybody who watches."""
    return (Channel("presence-stream", streamer_id), Channel("private-stream", streamer_id))


def watching(streamer_id: str) -> tuple[Channel, ...]:
    """Everybody who watches, and the streamer."""
    return (*everybody(streamer_id), *user(streamer_id))


def viewer(streamer_id: str, viewer_id: str, *presets: Preset) -> tuple[Channel, ...]:
    """One viewer's channels in a stream, by what is watched."""
    return tuple(Channel("presence-stream-viewer", streamer_id, preset, viewer_id) for preset in presets)
