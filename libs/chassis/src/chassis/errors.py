"""What can go wrong without anything being broken.

    Refusal             an expected "no", told to whoever asked: problem+json on HTTP, a parked message on Kafka
    ├── Invalid         422  can never be valid
    ├── Forbidden       403  not yours, or blocked
    ├── NotFound        404  does not exist, or its existence is private
    ├── Conflict        409  the state forbids it
    ├── Gone            410  it is over
    ├── TooSoon         429  may be asked again after a while
    └── Unavailable     503  this service cannot say right now
    NotYet              the event of another service has not arrived: wait and try again

A service declares its refusals beside the function that raises them: `class StageTaken(Conflict, slug="stage-taken")`.
The docstring's first line is the problem's title; the HTTP status stands here and nowhere else.
"""

from typing import Any, ClassVar


class Refusal(Exception):
    """Refused."""

    STATUS: ClassVar[int] = 409
    SLUG: ClassVar[str] = "refused"

    def __init_subclass__(cls, *, slug: str | None = None, **kwargs: Any) -> None:
        """Take the stable slug of the problem's `type` from the class line."""
        super().__init_subclass__(**kwargs)
        if slug is not None:
            cls.SLUG = slug

    def __init__(self, detail: str = "", *, retry_after_seconds: float | None = None, **extensions: Any) -> None:
        """Refuse with a sentence for the caller and, if it helps, further members of the problem document."""
        super().__init__(detail or self.title())
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        self.extensions = extensions

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]


class Invalid(Refusal, slug="invalid"):
    """The request can never be valid."""

    STATUS = 422


class Forbidden(Refusal, slug="forbidden"):
    """The caller may not do this."""

    STATUS = 403


class NotFound(Refusal, slug="not-found"):
    """There is no such thing."""

    STATUS = 404


class Conflict(Refusal, slug="conflict"):
    """The present state forbids this."""

    STATUS = 409


class Gone(Refusal, slug="gone"):
    """It is over."""

    STATUS = 410


class TooSoon(Refusal, slug="too-soon"):
    """Not again so soon."""

    STATUS = 429


class Unavailable(Refusal, slug="unavailable"):
    """Not available right now."""

    STATUS = 503


class NotYet(Exception):
    """An event of another service must come first.

    A command is called again when a document that it has asked for by its id, in vain, is there, and a last time when
    `UNKNOWN_WAIT_SECONDS` have passed, then answered 404 with `what`; one that has asked for none, now and then;
    a message is parked with automatic retries and without an alarm.
    """

    def __init__(self, what: str) -> None:
        """Say what has not been heard of, e.g. `session`."""
        super().__init__(f"{what} is not known yet")
        self.what = what


class StuckError(Exception):
    """There is something to do and nothing is done. The process should end and be started again."""
