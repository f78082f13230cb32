"""One HTTP request to the running stack, with a user's token. Standard library only: it must be quick."""

import http.client
from collections.abc import Sequence
from pathlib import Path

from devstack import state
from devstack.errors import StackError
from devstack.tokens import access_token, of_stack

ANSWER_SECONDS = 30  # longer than the gateway takes to give up
TOKEN_SECONDS = 60


def call(
    data: Path, part: str, user_id: str | None, scopes: Sequence[str], request: tuple[str, str, str | None]
) -> str:
    """Method, path and body to this part of the stack; `STATUS BODY`, whatever the status. `part` may be `nginx`.

    Raises StackError when no stack runs, or what answers is not HTTP.
    """
    running = state.running(data)
    running.part(part)  # or there is none of that name
    method, path, body = request
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if user_id:
        token = access_token(user_id, scopes, of_stack(running.settings.variables, data), TOKEN_SECONDS)
        headers["Authorization"] = f"Bearer {token}"
    line = http.client.HTTPConnection("127.0.0.1", running.settings.port(part), timeout=ANSWER_SECONDS)
    try:
        line.request(method, path, body.encode() if body is not None else None, headers)
        answer = line.getresponse()
        return f"{answer.status} {answer.read().decode(errors='replace')}".rstrip()
    except (http.client.HTTPException, ValueError) as error:
        raise StackError(f"{method} {path}: {error!r}") from error
    finally:
        line.close()
