"""Escrow's own settings."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.runtime.settings import is_demo

KEY_BYTES_MIN = 32  # RFC 7518 §3.2: as long as the hash


class Settings(BaseSettings):
    """Times and shares of the money's way (SPEC §11)."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

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

    wallet_api_url: Annotated[str, StringConstraints(pattern=r"^(https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?)?$")] = ""
    """An external wallet in which each user has an account, too: scheme, host and port; none, if empty."""
    wallet_api_key: SecretStr = SecretStr("")
    """Signs our tokens for it; at least 32 bytes."""
    devstack: bool = False
    """Whether this is the local stack: only there are demo keys accepted."""

    @model_validator(mode="after")
    def _ready_for_external_wallet(self) -> Self:
        if self.wallet_api_url and len(self.wallet_api_key.get_secret_value()) < KEY_BYTES_MIN:
            raise ValueError("WALLET_API_URL needs a WALLET_API_KEY of at least 32 bytes")
        if is_demo(self.wallet_api_key) and not self.devstack:
            raise ValueError("WALLET_API_KEY is a demo key: only for DEVSTACK=true, on a local stack")
        return self

    @model_validator(mode="after")
    def _check_follows_window(self) -> Self:
        if self.invitation_refund_seconds < self.exclusive_window_seconds:
            raise ValueError(
                f"INVITATION_REFUND_SECONDS ({self.invitation_refund_seconds:g}) is below EXCLUSIVE_WINDOW_SECONDS "
                f"({self.exclusive_window_seconds:g}): a refund would be checked before it can be due"
            )
        return self
