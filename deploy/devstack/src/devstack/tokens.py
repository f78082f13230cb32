"""Access tokens for trying things out, signed with the stack's demo key.

Standard library only: `devstack token` must be quick.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack import clock
from devstack.errors import StackError

DEMO_KEYS = json.dumps({"demo-1": {"alg": "HS256", "key": "demo-key-of-the-devstack-accepted-nowhere-else"}})
DEMO_STREAM_TOKENS = {
    "STREAM_TOKEN_KEYS": json.dumps(
        {"demo-1": {"alg": "HS256", "key": "demo-stream-key-of-the-devstack-and-of-nobody"}}
    ),
    "BYTEPLUS_APP_ID": "demo" * 6,
    "BYTEPLUS_APP_KEY": "demo-app-key-of-the-devstack-0123456789",
}
KEYS_FILE = "jwt-keys.json"  # beside the stack's data: what changes there holds without a restart
DEMO_ISSUER = DEMO_AUDIENCE = "footlights"


def write_demo_keys(data: Path) -> None:
    """Put the demo keys where the services of this stack read them, whatever they were before."""
    file = data / KEYS_FILE
    file.write_text(DEMO_KEYS)
    file.chmod(0o600)


def of_stack(variables: Mapping[str, str], data: Path) -> Mapping[str, str]:
    """What tokens for the stack with this data follow from: its variables, its clock, its keys as they are now.

    Raises StackError when the keys are in a file that cannot be read.
    """
    return with_keys(clock.with_clock(variables, data), data)


def with_keys(variables: Mapping[str, str], data: Path) -> Mapping[str, str]:
    """The stack's variables, with `JWT_KEYS` as its services read them now.

    Raises StackError when they are in a file that cannot be read.
    """
    file = data / KEYS_FILE
    if "JWT_KEYS_FILE" in variables:
        file = Path(variables["JWT_KEYS_FILE"])
    elif "JWT_KEYS" in variables or not file.exists():
        return variables
    try:
        return {**variables, "JWT_KEYS": file.read_text()}
    except OSError as error:
        raise StackError(f"{file} cannot be read: {error.strerror}") from error


def access_token(user_id: str, scopes: Sequence[str], variables: Mapping[str, str], seconds: int) -> str:
    """A token as SPEC §2 has it, signed with the first of the stack's `JWT_KEYS`.

    It is valid for so many seconds from now on, by the stack's clock if the variables name it (`of_stack`).

    Raises StackError when that key is not one we can sign with here (HS256).
    """
    try:
        kid, key = next(iter(json.loads(variables.get("JWT_KEYS", DEMO_KEYS)).items()))
        algorithm, secret = key["alg"], key["key"].encode()
    except (ValueError, LookupError, AttributeError, TypeError, StopIteration):
        raise StackError('JWT_KEYS is not {"<kid>": {"alg": "HS256", "key": "…"}}') from None
    if algorithm != "HS256":
        raise StackError(f"the stack's first JWT key, {kid!r}, is {algorithm}: only HS256 can be signed with here")
    now = int(clock.now(variables))
    claims = {
        "iss": variables.get("JWT_ISSUER", DEMO_ISSUER),
        "aud": variables.get("JWT_AUDIENCE", DEMO_AUDIENCE),
        "sub": user_id,
        "jti": secrets.token_hex(12),
        "iat": now,
        "nbf": now,
        "exp": now + seconds,
        "scopes": list(scopes),
        "version": 1,
        "metadata": {"fingerprint": "devstack", "flavor": "demo", "original": {"iat": now, "method": "devstack"}},
    }
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{_part(claims)}"
    signature = hmac.digest(secret, signed.encode(), hashlib.sha256)
    return f"{signed}.{_base64(signature)}"


def _part(value: object) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
