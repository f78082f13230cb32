"""The sessions service's own variables (SPEC §11)."""

from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SESSION_SECONDS_LIMIT: Final = 7 * 86_400  # whatever is set: what a session keeps is meant for hours


class SessionsSettings(BaseSettings):
    """Durations, in seconds. A demo runs with short ones."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    step_seconds: Annotated[int, Field(ge=1, le=3_600)] = 60
    """Bought time is in whole steps; an agreement gives one more."""
    proposal_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 30
    """A payment that was asked for waits so long for its money."""
    session_max_seconds: Annotated[int, Field(ge=1, le=SESSION_SECONDS_LIMIT)] = 43_200
    """A session ends by itself, if its streamer wanted no sooner end."""
    private_judged_seconds: Annotated[int, Field(ge=1, le=3_600)] = 60
    """A completed private goal is judged, after its contributors were given their right."""
