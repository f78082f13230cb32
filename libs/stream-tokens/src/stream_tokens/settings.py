"""What tokens are signed with, and how long they live. Access tokens have keys of their own (SPEC §2)."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import jwt
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.runtime.settings import TokenKey, is_demo

TOKEN_SECONDS_LIMIT: Final = 3_600  # whatever is set: a token cannot be recalled

AppId = Annotated[str, Field(pattern=r"^[0-9A-Za-z]{24}$")]


class StreamTokenSettings(BaseSettings):
    """The keys of both tokens, and their life."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    stream_token_keys: Annotated[Mapping[str, TokenKey], Field(min_length=1)]
    """By `kid`; the first one signs, all of them verify."""
    byteplus_app_id: AppId
    """Public: it stands in every room token."""
    byteplus_app_key: Annotated[SecretStr, Field(min_length=32)]
    """The vendor's secret of that app."""
    token_max_seconds: Annotated[int, Field(ge=1, le=TOKEN_SECONDS_LIMIT)] = 120
    """A token lives so long at most; who may watch for less has a shorter one."""
    devstack: bool = False
    """Whether this is the local stack: only there are demo keys accepted."""

    @model_validator(mode="after")
    def _sound_keys(self) -> "StreamTokenSettings":
        if not self.devstack and is_demo(self.byteplus_app_key):
            raise ValueError("BYTEPLUS_APP_KEY is a demo key: only for DEVSTACK=true, on a local stack")
        for nth, key in enumerate(self.stream_token_keys.values(), 1):  # a `kid` may be a secret in the wrong place
            if not self.devstack and is_demo(key.key):
                raise ValueError(f"STREAM_TOKEN_KEYS holds a demo key as its {nth}.: only for DEVSTACK=true")
            try:
                key.prepared()
            except ValueError as weak:
                raise ValueError(f"STREAM_TOKEN_KEYS: its {nth}. {weak}") from None
        self._require_signing()
        return self

    def _require_signing(self) -> None:
        kid, key = self.signing_key
        try:
            jwt.encode({}, key.key.get_secret_value(), algorithm=key.alg, headers={"kid": kid})
        except (jwt.PyJWTError, TypeError, ValueError, AttributeError):
            raise ValueError("STREAM_TOKEN_KEYS: its 1. signs, and is no private key") from None

    @property
    def signing_key(self) -> tuple[str, TokenKey]:
        """The `kid` and the key that sign."""
        return next(iter(self.stream_token_keys.items()))

    def verifying(self, kid: str) -> tuple[str, Any]:
        """The algorithm and the key that verify what this `kid` has signed.

        Raises:
            KeyError: it is none of ours.
        """
        key = self.stream_token_keys[kid]
        return key.alg, key.prepared()
