"""The keys that verify access tokens. Those of `JWT_KEYS_FILE` are rotated without a restart."""

from collections.abc import Mapping
from typing import Any

import structlog

from chassis.clock import Clock
from chassis.runtime.metrics import TOKEN_KEYS_UNREADABLE
from chassis.runtime.settings import ApiSettings, TokenKey

CACHED_SECONDS = 1.0  # how late a process learns of it; to read a small local file takes 0.1 ms

_log = structlog.get_logger(__name__)

Prepared = Mapping[str, tuple[str, Any]]
"""Of each `kid` its algorithm, and what PyJWT verifies with."""


class TokenKeys:
    """The keys as this process last saw them, at most a second ago.

    A file that is away, half written or holds a key that would be refused at start changes nothing: what was last read
    holds on, and an operator is told.
    """

    def __init__(self, settings: ApiSettings, clock: Clock) -> None:
        """Read them."""
        self._settings = settings
        self._clock = clock
        self._unreadable: str | None = None
        self._take(settings.token_keys())

    def current(self) -> Prepared:
        """The same object for as long as nothing has changed."""
        if self._settings.jwt_keys_file is not None and self._clock.monotonic() >= self._until:
            self._look()
        return self._prepared

    def _look(self) -> None:
        self._until = self._clock.monotonic() + CACHED_SECONDS
        try:
            keys = self._settings.token_keys()
        except ValueError as error:
            if self._unreadable != str(error):
                _log.error("token keys not read", reason=str(error))
            self._tell(str(error))
            return
        self._tell(None)
        if keys != self._keys:
            self._take(keys)
            _log.warning("token keys changed", keys=len(keys))

    def _tell(self, unreadable: str | None) -> None:
        self._unreadable = unreadable
        TOKEN_KEYS_UNREADABLE.set(unreadable is not None)

    def _take(self, keys: Mapping[str, TokenKey]) -> None:
        self._keys = keys
        self._prepared: Prepared = {kid: (key.alg, key.prepared()) for kid, key in keys.items()}
        self._until = self._clock.monotonic() + CACHED_SECONDS
