"""The shop's own variables (SPEC §11)."""

from datetime import timedelta
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import Field, SecretStr, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.runtime.settings import is_demo
from contracts.shop import Gateway
from shop.domain.timing import Timing

KEY_BYTES_MIN = 32  # RFC 7518 §3.2: as long as the hash
Url = Annotated[str, StringConstraints(pattern=r"^(https?://[a-z0-9.-]{1,253}(:[0-9]{1,5})?)?$")]
"""Scheme, host and port, and nothing after them."""


SonetPaymentType = Literal["GASH_GPAY", "OTPCHT", "OTP839", "TCC", "FET", "APT"]
"""Those whose money is there once it is confirmed; with vATM and IBON what is confirmed is a number to pay to."""
SONET_API: Final = "https://mpapi.so-net.net.tw"
SONET_PAGE: Final = "https://mpay.so-net.net.tw"


class ShopSettings(BaseSettings):
    """How long things take, in seconds (the same variables as goals and sessions read), and how money comes in."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    proposal_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 30
    """A gift waits for its money."""
    session_max_seconds: Annotated[int, Field(ge=1, le=7 * 86_400)] = 43_200
    """A session is over."""

    payment_gateways: frozenset[Gateway] = frozenset()
    """Through which money comes in; none: nothing is sold for money."""
    public_origin: Url = ""
    """Where browsers find us: the gateway's scheme, host and port."""
    app_origin: Url = ""
    """Where the page at the end of a payment leads back to; none: it may be closed."""
    checkout_state_key: SecretStr = SecretStr("")
    """Signs what a browser carries to a payment gateway and back; at least 32 bytes."""
    checkout_state_other_keys: Annotated[tuple[SecretStr, ...], Field(max_length=5)] = ()
    """Taken too, and sign nothing: the key that comes next, or that was before."""
    sandbox_origin: Url = ""
    sandbox_secret: SecretStr = SecretStr("")
    """Shared with the sandbox."""
    sonet_merchant_id: Annotated[str, StringConstraints(pattern="^[0-9A-Za-z_-]{0,20}$")] = ""
    """Who we are at So-net (`icpId`): all that it knows us by, besides our address."""
    sonet_payment_type: SonetPaymentType = "GASH_GPAY"
    """How people pay there (`mpId`)."""
    sonet_api_origin: Url = SONET_API
    sonet_page_origin: Url = SONET_PAGE
    """Its servers for us, and for browsers; others than these two on a local stack only."""
    devstack: bool = False
    """Whether this is the local stack: only there somebody pays with money that does not exist."""

    @model_validator(mode="after")
    def _ready_for_money(self) -> "ShopSettings":
        key, others = self.checkout_state_key, self.checkout_state_other_keys
        if self.payment_gateways and not (self.public_origin and _is_long(key)):
            raise ValueError("PAYMENT_GATEWAYS needs a PUBLIC_ORIGIN and a CHECKOUT_STATE_KEY of at least 32 bytes")
        if not all(_is_long(other) for other in others):
            raise ValueError("each of CHECKOUT_STATE_OTHER_KEYS needs at least 32 bytes")
        if any(is_demo(one) for one in (key, *others)) and not self.devstack:
            raise ValueError("CHECKOUT_STATE_KEY, or another one, is a demo key: only for DEVSTACK=true")
        return self

    @model_validator(mode="after")
    def _no_sandbox_outside(self) -> "ShopSettings":
        if "sandbox" in self.payment_gateways and not self.devstack:
            raise ValueError("PAYMENT_GATEWAYS names the sandbox: only for DEVSTACK=true, on a local stack")
        return self

    @model_validator(mode="after")
    def _ready_for_sonet(self) -> "ShopSettings":
        if "sonet" not in self.payment_gateways:
            return self
        if not self.sonet_merchant_id:
            raise ValueError("PAYMENT_GATEWAYS names sonet, which needs a SONET_MERCHANT_ID")
        if self.devstack:
            return self
        if is_demo(SecretStr(self.sonet_merchant_id)):
            raise ValueError("SONET_MERCHANT_ID is a demo merchant: only for DEVSTACK=true, on a local stack")
        if (self.sonet_api_origin, self.sonet_page_origin) != (SONET_API, SONET_PAGE):
            raise ValueError(
                f"SONET_API_ORIGIN and SONET_PAGE_ORIGIN are not {SONET_API} and {SONET_PAGE}:"
                " only for DEVSTACK=true, on a local stack"
            )
        return self

    @cached_property
    def timing(self) -> Timing:
        """The same as the domain takes it, to the millisecond, so that instants stay what MongoDB can hold."""
        return Timing(
            proposal=timedelta(milliseconds=round(self.proposal_seconds * 1_000)),
            session_max=timedelta(seconds=self.session_max_seconds),
        )


def _is_long(key: SecretStr) -> bool:
    return len(key.get_secret_value().encode()) >= KEY_BYTES_MIN
