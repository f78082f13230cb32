"""Which stack the stories are played on: the times of SPEC §11, short, so that an evening passes in half a minute."""

from collections.abc import Mapping
from typing import Final

STEP_SECONDS: Final = 4
"""From the agreement on, a slow machine has a step and a tenth to get the exclusive on air, or it is not kept."""

INVITATION_SECONDS: Final = 6
"""In this time an invitation is seen and answered; one story waits it out."""

EXCLUSIVE_WINDOW_SECONDS: Final = 3
"""In this time an agreed exclusive is started; one story waits it out."""

INVITATION_REFUND_SECONDS: Final = 5
"""Later than the window: an agreement that came to nothing lapses first and is refunded then, as at full length."""

SETTINGS: Final[Mapping[str, str]] = {
    "STEP_SECONDS": str(STEP_SECONDS),
    "INVITATION_SECONDS": str(INVITATION_SECONDS),
    "EXCLUSIVE_WINDOW_SECONDS": str(EXCLUSIVE_WINDOW_SECONDS),
    "INVITATION_REFUND_SECONDS": str(INVITATION_REFUND_SECONDS),
}
"""What the stack must run with. All else stays as it is: no story waits for it."""
