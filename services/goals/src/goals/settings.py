"""The service's own variables (SPEC §11)."""

from datetime import timedelta
from functools import cached_property
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from goals.domain.timing import Timing

StepSeconds = Annotated[int, Field(ge=1, le=3_600)]
CooldownSeconds = Annotated[float, Field(ge=0, le=86_400)]
WindowSeconds = Annotated[float, Field(ge=0.1, le=86_400)]


class GoalsSettings(BaseSettings):
    """How long things take, in seconds. A demo or a test runs them shorter."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    step_seconds: StepSeconds = 60
    """The step: what bought time is counted in."""
    proposal_seconds: WindowSeconds = 30
    """A proposal waits for its money."""
    invitation_seconds: WindowSeconds = 30
    """An invitation is open."""
    exclusive_window_seconds: WindowSeconds = 60
    """An exclusive must be created within, after its invitation's end."""
    private_judged_seconds: Annotated[int, Field(ge=1, le=3_600)] = 60
    """A private goal is judged so long after it was reached; the streamer owes it until then."""
    session_max_seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] = 43_200
    """A session is over after that, whether or not sessions has told."""
    refused_cooldown_seconds: CooldownSeconds = 300
    """Who was refused may not ask again for so long."""
    timed_out_cooldown_seconds: CooldownSeconds = 60
    """Nor who got no answer; twice as long with each in a row, up to the one above."""
    unpaid_cooldown_seconds: CooldownSeconds = 30
    """Nor who had not the diamonds."""

    @model_validator(mode="after")
    def _late_in_the_window_is_soon_enough(self) -> Self:
        if self.exclusive_window_seconds > self.step_seconds:
            raise ValueError(
                f"EXCLUSIVE_WINDOW_SECONDS ({self.exclusive_window_seconds:g}) is above STEP_SECONDS "
                f"({self.step_seconds}): who began late in the window could not perform what was paid for"
            )
        return self

    @cached_property
    def timing(self) -> Timing:
        """The same as the domain takes it, to the millisecond."""
        return Timing(
            step=timedelta(seconds=self.step_seconds),
            proposal=_duration(self.proposal_seconds),
            invitation=_duration(self.invitation_seconds),
            window=_duration(self.exclusive_window_seconds),
            private_judged=timedelta(seconds=self.private_judged_seconds),
            session_max=timedelta(seconds=self.session_max_seconds),
            refused_cooldown=_duration(self.refused_cooldown_seconds),
            timed_out_cooldown=_duration(self.timed_out_cooldown_seconds),
            unpaid_cooldown=_duration(self.unpaid_cooldown_seconds),
        )


def _duration(seconds: float) -> timedelta:
    """Whole milliseconds, so that instants stay what MongoDB can hold."""
    return timedelta(milliseconds=round(seconds * 1_000))
