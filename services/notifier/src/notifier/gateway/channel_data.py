"""The tokens that a paid channel carries to its one member, made once for as long as nothing that they say changes.

Nothing is invalidated by hand: what was made of another state of things is not found.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from chassis import ids
from notifier.domain.entitlement import Grant, Watcher
from stream_tokens import Admission, Minted, StreamTokenSettings, mint

KEPT_MAX: Final = 10_000  # of 1 KB: the audience of one process; who was quiet the longest is made anew


@dataclass(frozen=True, slots=True)
class _Kept:
    """Tokens of one watcher as known then, given from `since` on until `until`."""

    watcher: Watcher
    grant: Grant
    since: datetime
    until: datetime
    minted: Minted


@dataclass
class ChannelData:
    """What a process has made."""

    _kept: "OrderedDict[tuple[str, str], _Kept]" = field(default_factory=OrderedDict)

    def of(self, watcher: Watcher, grant: Grant, settings: StreamTokenSettings, now: datetime) -> Minted:
        """The tokens to give: for half of their life the same, unless anything that decides them has changed."""
        key = (watcher.broadcast.id, watcher.user_id)
        kept = self._kept.get(key)
        if kept is None or (kept.watcher, kept.grant) != (watcher, grant) or not kept.since <= now < kept.until:
            kept = self._kept[key] = _make(watcher, grant, settings, now)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return kept.minted


def _make(watcher: Watcher, grant: Grant, settings: StreamTokenSettings, now: datetime) -> _Kept:
    admission = Admission(
        user_id=watcher.user_id,
        session_id=watcher.broadcast.session_id,
        preset="sd",
        room_id=watcher.broadcast.room_id,
        until=grant.until,
        may_publish=watcher.user_id == watcher.broadcast.id,
    )
    minted = mint(admission, settings, now, ids.new_id())
    half_a_life = timedelta(seconds=(minted.exp - now.timestamp()) / 2)
    return _Kept(watcher, grant, now, now + half_a_life, minted)
