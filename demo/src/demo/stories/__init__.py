"""The endings: a file for each kind of goal, one for the session's own, and one for what is bought with money.

Each is played by people of its own, so that all can run at once.
"""

from typing import Final

from demo.stories import exclusives, fundings, invitations, karaoke, private_goals, purchases, sessions, shows

STORIES: Final = (
    *karaoke.STORIES,
    *sessions.STORIES,
    *purchases.STORIES,
    *exclusives.STORIES,
    *invitations.STORIES,
    *fundings.STORIES,
    *shows.STORIES,
    *private_goals.STORIES,
)
"""Begun in this order, one soon after the other: the longest first."""
