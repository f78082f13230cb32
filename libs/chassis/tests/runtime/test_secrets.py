"""No secret is ever written anywhere: whatever goes wrong, on a terminal or not."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from chassis.http import TxRouter
from chassis.runtime.cli import run
from chassis.service import Service
from chassis_testing.output import Output
from chassis_testing.service import NO_TLS

CANARY = "c4n4ry" * 8
PEM = "-----BEGIN {0}-----\n{1}\n-----END {0}-----".format("PRIVATE " + "KEY", CANARY)
AWAY = "mongodb://user:{}@127.0.0.1:1/?directConnection=true&serverSelectionTimeoutMS=200"
ENV = {
    "MONGO_URL": AWAY.format(CANARY),
    "KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "JWT_KEYS": json.dumps({"k": {"alg": "HS256", "key": CANARY}}),
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{CANARY}@127.0.0.1:1",
}
MAIN = """
from chassis.http import Body, TxRouter
from chassis.runtime.cli import run
from chassis.service import Service

router = TxRouter()

class Order(Body):
    card: str

@router.post("/broken", public=True)
async def break_it(body: Order) -> None:
    card = body.card
    raise LookupError("why")

run(Service(name="canaries", router=router))
"""
BAD: dict[str, tuple[str, dict[str, str]]] = {
    "keys that are no JSON": ("api", {"JWT_KEYS": '{"k": ' + CANARY}),
    "keys of another form": ("api", {"JWT_KEYS": json.dumps({"k": {"alg": "HS256", "kee": CANARY}})}),
    "an unknown algorithm": ("api", {"JWT_KEYS": json.dumps({"k": {"alg": CANARY, "key": CANARY}})}),
    "a broken PEM": ("api", {"JWT_KEYS": json.dumps({"k": {"alg": "RS256", "key": PEM}})}),
    "a weak key": ("api", {"JWT_KEYS": json.dumps({"k": {"alg": "HS256", "key": CANARY[:20]}})}),
    "a demo key": ("api", {"JWT_KEYS": json.dumps({"k": {"alg": "HS256", "key": f"demo{CANARY}"}})}),
    "a URL that is none": ("api", {"MONGO_URL": f"mongodb://user:{CANARY}/@mongo"}),
    "a number that is none": ("api", {"HTTP_PORT": CANARY}),
    "a crash": ("parked", {}),
}


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(params=["terminal", "pipe"])
def output(request: pytest.FixtureRequest) -> Output:
    return Output(terminal=request.param == "terminal")


@pytest.fixture
def start(output: Output, tmp_path: Path) -> Start:
    """Start the service of these tests, with canaries in all that it reads."""
    (tmp_path / "canaries").mkdir()
    (tmp_path / "canaries" / "__main__.py").write_text(MAIN)

    def started(command: str, **env: str) -> "subprocess.Popen[bytes]":
        return output.start([sys.executable, "-m", "canaries", command], ENV | env, tmp_path)

    return started


@pytest.mark.parametrize("wrong", ["a broken PEM", "a crash"])
def test_what_ends_a_process_shows_no_secret(start: Start, output: Output, wrong: str) -> None:
    command, env = BAD[wrong]

    process = start(command, **env)
    said = output.whole()

    assert process.wait() == (1 if wrong == "a crash" else 2)
    assert "crashed" in said or next(iter(env)) in said
    assert "c4n4ry" not in said


@pytest.mark.parametrize("wrong", [wrong for wrong in BAD if wrong != "a crash"])
def test_settings_that_are_refused_show_no_secret(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    command, env = BAD[wrong]
    monkeypatch.setattr("os.environ", {**ENV, **env})
    monkeypatch.setattr("sys.argv", ["canaries", command])

    with pytest.raises(SystemExit) as ended:
        run(Service(name="canaries", router=TxRouter()))

    said = "".join(capfd.readouterr())
    assert ended.value.code == 2
    assert next(iter(env)) in said
    assert "c4n4ry" not in said


def test_a_request_that_fails_shows_neither_its_token_nor_its_body(
    start: Start, output: Output, unused_tcp_port_factory: Callable[[], int]
) -> None:
    port = unused_tcp_port_factory()
    process = start("api", HTTP_PORT=str(port), OTEL_EXPORTER_OTLP_ENDPOINT="")  # its last try would last
    try:
        status = _broken(f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
    said = output.whole()

    assert (status, process.wait()) == (500, 0)
    assert "LookupError: why" in said
    assert "c4n4ry" not in said


def _broken(url: str) -> int:
    with httpx.Client(verify=NO_TLS, headers={"authorization": f"Bearer {CANARY}", "cookie": CANARY}) as client:
        until = time.monotonic() + 60
        while True:
            try:
                return client.post(f"{url}/broken?q={CANARY}", json={"card": CANARY}).status_code
            except httpx.ConnectError:
                assert time.monotonic() < until
                time.sleep(0.05)
