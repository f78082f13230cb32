"""The shop's own variables (SPEC §11)."""

from datetime import timedelta
from functools import cached_property
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.shop import Gateway
from shop.domain.timing import Timing


class ShopSettings(BaseSettings):
    """How long things take, in seconds (the same variables as goals and sessions read), and how money comes in."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    proposal_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 30
    """A gift waits for its money."""
    session_max_seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] = 43_200
    """A session is over."""

    payment_gateways: frozenset[Gateway] = frozenset()
    """Through which money comes in; none: nothing is sold for money."""
    devstack: bool = False
    """Whether this is the local stack: only there somebody pays with money that does not exist."""

    @model_validator(mode="after")
    def _no_sandbox_outside(self) -> "ShopSettings":
        if "sandbox" in self.payment_gateways and not self.devstack:
            raise ValueError("PAYMENT_GATEWAYS names the sandbox: only for DEVSTACK=true, on a local stack")
        return self

    @cached_property
    def timing(self) -> Timing:
        """The same as the domain takes it, to the millisecond, so that instants stay what MongoDB can hold."""
        return Timing(
            proposal=timedelta(milliseconds=round(self.proposal_seconds * 1_000)),
            session_max=timedelta(seconds=self.session_max_seconds),
        )
