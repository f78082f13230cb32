"""A push without the deeds that lead to it, for whoever writes a client: as docs/pushes.md shows it, to a user.

The data are examples: of what they name only the user and the streamer are real. No service knows of it, so nothing of
it is in `GET /notifications`, and `seq` is that of the example.
"""

import hashlib
import hmac
import http.client
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from devstack.errors import StackError
from devstack.settings import CHECKOUT

PAGE = CHECKOUT / "docs" / "pushes.md"
ANSWER_SECONDS = 10.0
STREAMER = "streamer"

_SECTION = re.compile(r"^## (?P<name>\S+)\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_SHOWN = re.compile(r"^(?P<channels>`[^\n]+`)\n\n```json\n(?P<data>.*?)^```$", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Push:
    """One push on one channel."""

    channel: str
    name: str
    data: Mapping[str, Any]


def pushes(page: str, name: str, user_id: str, streamer_id: str) -> list[Push]:
    """Those of a name on the page, each channel's first, with these two people in them.

    Raises:
        StackError: the page knows no such push.
    """
    sections = {section["name"]: section["text"] for section in _SECTION.finditer(page)}
    if name not in sections:
        raise StackError(f"there is no push {name!r}; there are: {', '.join(sections)}")
    made: dict[str, Push] = {}
    for shown in _SHOWN.finditer(sections[name]):
        for channel in re.findall(r"`([^`]+)`", shown["channels"]):
            push = _to(channel, name, json.loads(shown["data"]), user_id, streamer_id)
            made.setdefault(push.channel, push)
    return list(made.values())


def _to(channel: str, name: str, data: dict[str, Any], user_id: str, streamer_id: str) -> Push:
    people = {role: streamer_id if role == STREAMER else user_id for role in _ROLE.findall(channel)}
    known = {f"{role}_id": id_ for role, id_ in {STREAMER: streamer_id, **people}.items()}
    return Push(channel.format_map(people), name, {**data, **{key: known[key] for key in known.keys() & data.keys()}})


def trigger(pusher: Mapping[str, Any], pushed: list[Push]) -> Iterator[str]:
    """Send them; what was sent, a line each. Raises StackError if Pusher refuses one."""
    for push in pushed:
        status, said = _post(pusher, {"name": push.name, "channels": [push.channel], "data": json.dumps(push.data)})
        if status != http.client.OK:
            raise StackError(f"{push.name} on {push.channel}: Pusher answers {status} {said}")
        yield f"{push.name} on {push.channel}: {json.dumps(push.data, separators=(',', ':'))}"


def _post(pusher: Mapping[str, Any], event: Mapping[str, Any]) -> tuple[int, str]:
    """Pusher's HTTP API, which wants its requests signed."""
    body, path = json.dumps(event).encode(), f"/apps/{pusher['app_id']}/events"
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    query = f"auth_key={pusher['key']}&auth_timestamp={int(time.time())}&auth_version=1.0&body_md5={digest}"
    signed = f"POST\n{path}\n{query}".encode()
    signature = hmac.new(pusher["secret"].encode(), signed, hashlib.sha256).hexdigest()
    line = http.client.HTTPConnection(pusher["host"], pusher["port"], timeout=ANSWER_SECONDS)
    try:
        headers = {"Content-Type": "application/json"}
        line.request("POST", f"{path}?{query}&auth_signature={signature}", body, headers)
        answer = line.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise StackError(f"Pusher does not answer: {error!r}") from error
    finally:
        line.close()
