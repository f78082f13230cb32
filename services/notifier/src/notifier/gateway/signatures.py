"""What is signed with the keys shared with Pusher: what a client shows to it, and what it tells us."""

import hashlib
import hmac
from dataclasses import dataclass

from pusher.signature import sign
from pydantic_core import to_json

from notifier.domain.channels import Channel
from notifier.settings import Settings
from stream_tokens import Minted


@dataclass(frozen=True, slots=True)
class Authorization:
    """The signature that lets one client listen to one channel."""

    auth: str


@dataclass(frozen=True, slots=True)
class MemberAuthorization:
    """The same for a presence channel; `channel_data` (JSON) says who it is, and is signed too."""

    auth: str
    channel_data: str


@dataclass(frozen=True, slots=True)
class UserAuthorization:
    """The signature that says whose a connection is; `user_data` (JSON) holds their id, and is signed too."""

    auth: str
    user_data: str


def authorize(
    settings: Settings, socket_id: str, channel: Channel, user_id: str, info: Minted | None = None
) -> Authorization | MemberAuthorization:
    """What the client `socket_id` of `user_id` shows to Pusher in order to listen to `channel`, with what else its
    members are told of the user.
    """
    key, secret = settings.signing_key
    if not channel.has_members:
        return Authorization(f"{key}:{sign(secret, f'{socket_id}:{channel.name}')}")
    more = {} if info is None else {"user_info": info}
    member = to_json({"user_id": user_id, **more}).decode()
    return MemberAuthorization(f"{key}:{sign(secret, f'{socket_id}:{channel.name}:{member}')}", member)


def sign_in(settings: Settings, socket_id: str, user_id: str) -> UserAuthorization:
    """What the client `socket_id` shows to Pusher in order to be known there as `user_id`."""
    key, secret = settings.signing_key
    user = to_json({"id": user_id}).decode()
    return UserAuthorization(f"{key}:{sign(secret, f'{socket_id}::user::{user}')}", user)


def is_pushers(settings: Settings, key: str, signature: str, body: bytes) -> bool:
    """Whether Pusher signed `body`, with any key that it shares with us."""
    secret = settings.pusher_keys.get(key)
    if secret is None:
        return False
    digest = hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(digest.encode(), signature.encode())
