"""The endings: a file for each kind of goal, and one for the session's own.

Each is played by people of its own, so that all can run at once.
"""

from typing import Final

from demo.stories import exclusives, fundings, invitations, karaoke, private_goals, sessions, shows

STORIES: Final = (
    *karaoke.STORIES,
    *sessions.STORIES,
    *exclusives.STORIES,
    *invitations.STORIES,
    *fundings.STORIES,
    *shows.STORIES,
    *private_goals.STORIES,
)
"""Begun in this order, one soon after the other: the longest first."""
