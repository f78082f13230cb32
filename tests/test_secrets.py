"""No secret in any setting of any service is ever written anywhere, whatever is wrong with it, on a terminal or not.

The settings are those of the services' tables, so that a new one is covered by itself.
"""

import importlib
import json
import socket
import sys
import typing
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsError

from chassis.runtime.settings import ApiSettings, load
from chassis.service import Service
from chassis_testing.output import Output
from devstack import services
from devstack.settings import CHECKOUT, Settings, package

CANARY = "c4n4ry" * 8
PEM = "-----BEGIN {0}-----\n{1}\n-----END {0}-----".format("PRIVATE " + "KEY", CANARY)
# What somebody may put there: a secret, a secret in what the setting expects, a secret where none is expected.
FORMS = {
    "a secret": CANARY,
    "a short one": CANARY[:7],
    "broken JSON": '{"k": "' + CANARY,
    "a list": json.dumps([CANARY]),
    "a secret for a key": json.dumps({"k": CANARY}),
    "a secret for a secret": json.dumps({CANARY: CANARY}),
    "a key without its secret": json.dumps({CANARY: ""}),
    "key and secret the wrong way round": json.dumps({CANARY: "demo-key"}),
    "a demo secret": json.dumps({"k": f"demo{CANARY}"}),
    "a key for tokens": json.dumps({"k": {"alg": "HS256", "key": CANARY}}),
    "a secret for a kid": json.dumps({CANARY: {"alg": "HS256", "key": "k"}}),
    "an algorithm that is none": json.dumps({"k": {"alg": CANARY, "key": CANARY}}),
    "a field that is none": json.dumps({"k": {CANARY: CANARY}}),
    "a weak key": json.dumps({"k": {"alg": "HS256", "key": CANARY[:20]}}),
    "a PEM": json.dumps({"k": {"alg": "RS256", "key": PEM}}),
    "a URL": f"https://{CANARY}:{CANARY}@127.0.0.1:1/apps/1?auth_key={CANARY}",
    "a URL of MongoDB": f"mongodb://user:{CANARY}@127.0.0.1:1/?directConnection=true&serverSelectionTimeoutMS=200",
    "a URL of MongoDB that is none": f"mongodb://user:{CANARY}/@mongo",
    "an address": f"user:{CANARY}@127.0.0.1:1",
}
# What no form fits, or what is needed together.
SOUND = {
    "HTTP_HOST": "127.0.0.1",
    "JWT_KEYS": FORMS["a key for tokens"],
    "KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_USERNAME": CANARY,
    "KAFKA_SASL_PASSWORD": CANARY,
    "PUSHER_HOST": "127.0.0.1",
    "PUSHER_PORT": "1",
    "PUSHER_CLIENT_HOST": "127.0.0.1",
    "PUSHER_APP_ID": "1",
    "BYTEPLUS_APP_ID": "0" * 24,
}
LIKE_A_SECRET = ("key", "secret", "password", "url", "endpoint", "credential")
SERVICES = services.chosen(Settings(data=CHECKOUT, port_base=20_000))


def settings_of(service: str) -> tuple[type[BaseSettings], ...]:
    """All that a process of this service reads."""
    table: Service = importlib.import_module(f"{package(service)}.service").SERVICE
    return (ApiSettings, *table.settings)


def parts_of(annotation: Any) -> Iterator[Any]:
    """All types that it is made of."""
    yield annotation
    for part in typing.get_args(annotation):
        yield from parts_of(part)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for field in annotation.model_fields.values():
            yield from parts_of(field.annotation)


def secrets_of(cls: type[BaseSettings]) -> set[str]:
    """The settings that hold a secret."""
    return {name for name, field in cls.model_fields.items() if SecretStr in parts_of(field.annotation)}


def taken(cls: type[BaseSettings], env: Mapping[str, str]) -> bool:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.environ", dict(env))
        try:
            cls()
        except (ValidationError, SettingsError):
            return False
    return True


def sound(cls: type[BaseSettings]) -> dict[str, str]:
    """An environment in which these settings are read, with a canary in each that takes one."""
    env = {name: SOUND[name] for field in cls.model_fields if (name := field.upper()) in SOUND}
    required = [name for name, field in cls.model_fields.items() if field.is_required()]
    for name in required:
        if name.upper() not in env:
            env[name.upper()] = next(form for form in FORMS.values() if _is_no_problem(cls, name, env, form))
    assert taken(cls, env), f"SOUND lacks a setting of {cls}"
    for name in cls.model_fields:
        wanted = (form for form in FORMS.values() if taken(cls, env | {name.upper(): form}))
        if name.upper() not in env and (form := next(wanted, None)):
            env[name.upper()] = form
    return env


def _is_no_problem(cls: type[BaseSettings], name: str, env: Mapping[str, str], form: str) -> bool:
    """Whether this setting is taken, whatever else is missing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.environ", {**env, name.upper(): form})
        try:
            cls()
        except SettingsError:
            return False
        except ValidationError as error:
            return all(problem["loc"] and problem["loc"][0] != name for problem in error.errors())
    return True


@pytest.mark.parametrize("service", SERVICES)
def test_a_setting_that_is_refused_is_named_and_not_shown(
    service: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    refused = 0
    for cls in settings_of(service):
        env = sound(cls)
        for name in cls.model_fields:
            for form in FORMS.values():
                monkeypatch.setattr("os.environ", env | {name.upper(): form})
                try:
                    read = load(cls)
                except SystemExit:
                    refused += 1
                    said = capfd.readouterr().err
                    assert name.upper() in said or "Value error" in said
                else:
                    value = getattr(read, name)
                    said = repr(list(value.values()) if isinstance(value, dict) else value)
                    said = said if name in secrets_of(cls) else ""
                assert CANARY[:6] not in said.lower(), f"{name}={form}"
    assert refused > len(FORMS)


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_named_like_a_secret_is_one(service: str) -> None:
    for cls in settings_of(service):
        named = {name for name in cls.model_fields if any(part in name.split("_") for part in LIKE_A_SECRET)}
        named |= {name for name in cls.model_fields if name.endswith("keys")}
        named -= {name for name in cls.model_fields if name.endswith("_file")}  # where it is
        named -= {"wallet_api_url"}  # its form has no place for a password

        assert named <= secrets_of(cls)


ENDS = (("crashed", "parked", "terminal"), ("crashed", "parked", "pipe"), ("cannot be listened on", "worker", "pipe"))


@pytest.mark.parametrize("service", SERVICES)
def test_a_process_that_ends_by_itself_shows_no_setting(service: str) -> None:
    env = {name: value for cls in settings_of(service) for name, value in sound(cls).items()}
    env |= {"DEVSTACK": "true", "LOG_LEVEL": "DEBUG"}
    with closing(socket.create_server(("127.0.0.1", 0))) as taken_already:
        env["HTTP_PORT"] = str(taken_already.getsockname()[1])
        outputs = [Output(terminal=to == "terminal") for _, _, to in ENDS]
        lines = [[sys.executable, "-m", package(service), command] for _, command, _ in ENDS]
        processes = [output.start(line, env) for output, line in zip(outputs, lines, strict=True)]  # at once: they wait
        said = [output.whole() for output in outputs]

    assert [process.wait() for process in processes] == [1, 1, 1], said
    assert [end in one for (end, _, _), one in zip(ENDS, said, strict=True)] == [True, True, True], said
    assert CANARY[:6] not in "".join(said).lower()
