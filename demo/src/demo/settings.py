"""Which stack the stories are played on: the times of SPEC §11, short, so that all of it passes in a minute.

Long enough for a small machine that is busy: what takes a tenth of a second at best may take some seconds there.
"""

from collections.abc import Mapping
from typing import Final

STEP_SECONDS: Final = 6
"""From the agreement on, the exclusive must be on air within a step and a tenth, or it is not kept."""

INVITATION_SECONDS: Final = 10
"""In this time an invitation is seen and answered; one story waits it out."""

EXCLUSIVE_WINDOW_SECONDS: Final = STEP_SECONDS
"""In this time an agreed exclusive is started, at most a step; one story waits it out."""

INVITATION_REFUND_SECONDS: Final = 10
"""Later than the window: an agreement that came to nothing lapses first and is refunded then, as at full length."""

FUNDING_SECONDS: Final = 24
"""In this time something is sold for a funding or a private goal; the stories of those that fail wait it out."""

HESITATION_SECONDS: Final = 12
"""In this time an unfunded show is begun; one story waits it out."""

SHOW_REFUND_SECONDS: Final = 2
"""Later than the hesitation: what was not performed lapses first and is refunded then, as at full length."""

PRIVATE_JUDGED_SECONDS: Final = 6
"""In this time after a private goal was reached, one story goes off air, and another waits it out."""

UNKNOWN_WAIT_SECONDS: Final = 10
"""A session may be invited to the moment it is on air: goals waits this long to hear of it, not 2 s."""

SETTINGS: Final[Mapping[str, str]] = {
    "STEP_SECONDS": str(STEP_SECONDS),
    "INVITATION_SECONDS": str(INVITATION_SECONDS),
    "EXCLUSIVE_WINDOW_SECONDS": str(EXCLUSIVE_WINDOW_SECONDS),
    "INVITATION_REFUND_SECONDS": str(INVITATION_REFUND_SECONDS),
    "SHOW_REFUND_SECONDS": str(SHOW_REFUND_SECONDS),
    "PRIVATE_JUDGED_SECONDS": str(PRIVATE_JUDGED_SECONDS),
    "UNKNOWN_WAIT_SECONDS": str(UNKNOWN_WAIT_SECONDS),
}
"""What the stack must run with. All else stays as it is: no story waits for it."""
