"""What the notifier tells: how many are watching (SPEC §6)."""

from contracts.event import SessionEvent
from contracts.values import Count, Open, Preset


class PresenceCountedV1(
    SessionEvent,
    type="presence.counted.v1",
    topic="notifier",
    key="session_id",
    subject="session_id",
):
    """So many viewers are in the session now, by what they watch. The last one told counts."""

    preset: Open[Preset]
    viewers: Count
