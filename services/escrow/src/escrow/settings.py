"""Escrow's own settings."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Times and shares of the money's way (SPEC §11)."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    invitation_refund_seconds: Annotated[float, Field(ge=0, le=3_600)] = 65
    """Refund check of an agreed invitation, after its `exp`."""
    exclusive_window_seconds: Annotated[float, Field(ge=0, le=3_600)] = 60
    """Goals' window for the ExclusiveGoal; here only to refuse a refund check before it."""
    show_refund_seconds: Annotated[float, Field(ge=0, le=3_600)] = 5
    """Refund check of an unfunded show, after its `exp` and the hesitation."""
    platform_share: Annotated[Decimal, Field(ge=0, le=1)] = Decimal(0)
    """The part of each earning, payment and gift that goes to `system:revenue`; `floor` per amount."""

    settlement_slice: Annotated[int, Field(ge=1, le=1_000)] = 500
    """Earnings settled in one transaction."""

    @model_validator(mode="after")
    def _check_follows_window(self) -> Self:
        if self.invitation_refund_seconds < self.exclusive_window_seconds:
            raise ValueError(
                f"INVITATION_REFUND_SECONDS ({self.invitation_refund_seconds:g}) is below EXCLUSIVE_WINDOW_SECONDS "
                f"({self.exclusive_window_seconds:g}): a refund would be checked before it can be due"
            )
        return self
