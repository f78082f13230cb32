"""What can be wrong with a call. The caller's question is whether it was done, and whether to ask again.

ByteplusError
  NotNow            ask again later
    Unreachable     the vendor was not reached: nothing was done
    RateLimited     refused before anything was done
      NoTurn        by ourselves: others were before it for too long
    OutcomeUnknown  no answer, or none that can be read: done or not
  Refused           nothing was done, and the same again is refused again
    NotAuthorized   the keys, the machine's clock, or what the account may do
"""

from typing import Final

AUTHORIZATION: Final = (
    "MissingAuthenticationToken",
    "MissingSignature",
    "InvalidTimestamp",
    "InvalidAccessKey",
    "InvalidAuthorization",
    "InvalidCredential",
    "SignatureDoesNotMatch",
    "LackPolicy",
    "AccessDenied",
)
OURS_TO_SLOW_DOWN: Final = ("FlowLimitExceeded",)
THEIR_FAULT: Final = ("InternalError", "InternalServiceError", "InternalServiceTimeout", "FailToConnect")
OUR_FAULT: Final = "InvalidParameter"
SERVER_ERROR: Final = 500
TOO_MANY_REQUESTS: Final = 429


class ByteplusError(Exception):
    """A call that failed. `code` and `request_id` are the vendor's own, empty when it has not answered."""

    def __init__(self, message: str, *, code: str = "", request_id: str = "") -> None:
        """Say what the vendor said."""
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.request_id = request_id


class NotNow(ByteplusError):
    """It may go well later."""


class Unreachable(NotNow):
    """The vendor was not reached: nothing was done."""


class RateLimited(NotNow):
    """The account has called too often, or was about to: nothing was done."""


class NoTurn(RateLimited):
    """Nothing was sent: within the rate limit there was no turn in time."""


class OutcomeUnknown(NotNow):
    """The vendor may have done it: there was no answer in time, or none that can be read."""


class Refused(ByteplusError):
    """The vendor does not do this, however often it is asked."""


class NotAuthorized(Refused):
    """The keys are wrong, the machine's clock is, or the account may not do this."""


def error_of(status: int, code: str, message: str, request_id: str = "") -> ByteplusError:
    """Which error an answer is: by the vendor's `code` where it names one that is known, else by the HTTP status."""
    kind: type[ByteplusError] = Refused
    family = code.partition(".")[0]
    if family in OURS_TO_SLOW_DOWN or status == TOO_MANY_REQUESTS:
        kind = RateLimited
    elif family in AUTHORIZATION:
        kind = NotAuthorized
    elif family in THEIR_FAULT or (status >= SERVER_ERROR and family != OUR_FAULT):
        kind = OutcomeUnknown
    return kind(message, code=code, request_id=request_id)
