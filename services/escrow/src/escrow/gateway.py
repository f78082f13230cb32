"""The external wallet's API (SPEC §5): `POST /1/account`, with a token of ours for one account and one minute."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Final

import jwt

from chassis.clock import instant, unix
from chassis.context import Outside
from chassis.effects.vendor_client import VENDOR_AWAY
from chassis.service import EffectRequest, EffectResult
from escrow.domain.external_wallet import CreateAccount
from escrow.settings import Settings

ALGORITHM: Final = "HS256"
AUDIENCE: Final = "wallet"
SCOPE: Final = "account:create"
TOKEN_SECONDS: Final = 60
CALL_SECONDS: Final = 4.0
DEADLINE_SECONDS: Final = 5.0  # of all together: the slow one takes no answer from the others
AT_ONCE: Final = 50


async def create_accounts(
    requests: Sequence[EffectRequest[CreateAccount]], outside: Outside
) -> Sequence[EffectResult[CreateAccount]]:
    """Have accounts made; what is there already is as good. Everything else is asked for again."""
    return await asyncio.gather(*(_create(one, outside) for one in requests))


def token(user_id: str, now: datetime, settings: Settings) -> str:
    """What lets us make the account of this user, and nothing else, for a minute."""
    key = settings.wallet_api_key.get_secret_value()
    issued = int(unix(now))
    claims = {"iss": "footlights", "aud": AUDIENCE, "sub": user_id, "iat": issued, "exp": issued + TOKEN_SECONDS}
    return jwt.encode(claims | {"scopes": [SCOPE]}, key, algorithm=ALGORITHM)


async def _create(request: EffectRequest[CreateAccount], outside: Outside) -> EffectResult[CreateAccount]:
    settings, asked = outside.settings(Settings), request.effect
    headers = {
        "authorization": f"Bearer {token(asked.user_id, instant(outside.clock.micros()), settings)}",
        "content-type": "application/json",
        "idempotency-key": request.id,
    }
    body = json.dumps({"user_id": asked.user_id})
    try:
        answer = await outside.http.post(
            f"{settings.wallet_api_url}/1/account", body, headers, seconds_max=CALL_SECONDS
        )
    except VENDOR_AWAY:
        return EffectResult(asked, request.id, request.key, retry="no answer")
    if answer.is_success or answer.status == HTTPStatus.CONFLICT:
        return EffectResult(asked, request.id, request.key)
    return EffectResult(asked, request.id, request.key, retry=f"answered {answer.status}")
