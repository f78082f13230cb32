"""Channels: their names, and whose they are (SPEC §6)."""

import re
from dataclasses import dataclass
from typing import Literal, cast

from contracts.values import Preset

ChannelKind = Literal["presence-stream", "private-stream", "private-user", "presence-stream-viewer"]

_ID = "[0-9a-f]{24}"
_NAME = re.compile(
    rf"(?P<kind>presence-stream|private-stream|private-user)@(?P<owner>{_ID})"
    rf"|(?P<viewer_kind>presence-stream-viewer)@(?P<streamer>{_ID})\.(?P<preset>preview|sd)\.(?P<viewer>{_ID})"
)


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
        suffix = f".{self.preset}.{self.viewer_id}" if self.kind == "presence-stream-viewer" else ""
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
    if match is None:
        return None
    if match["kind"]:
        return Channel(cast("ChannelKind", match["kind"]), match["owner"])
    preset = cast("Preset", match["preset"])
    return Channel("presence-stream-viewer", match["streamer"], preset, match["viewer"])


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
