"""The service's own variables (SPEC §11)."""

from datetime import timedelta
from functools import cached_property
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from goals.domain.timing import Timing

StepSeconds = Annotated[int, Field(ge=1, le=3_600)]
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
    refused_cooldown_seconds: Annotated[float, Field(ge=0, le=86_400)] = 300
    """Who was refused may not ask again for so long."""

    @cached_property
    def timing(self) -> Timing:
        """The same as the domain takes it, to the millisecond."""
        return Timing(
            step=timedelta(seconds=self.step_seconds),
            proposal=_duration(self.proposal_seconds),
            invitation=_duration(self.invitation_seconds),
            window=_duration(self.exclusive_window_seconds),
            cooldown=_duration(self.refused_cooldown_seconds),
        )


def _duration(seconds: float) -> timedelta:
    """Whole milliseconds, so that instants stay what MongoDB can hold."""
    return timedelta(milliseconds=round(seconds * 1_000))
