"""What the gateway answers by itself, and what it hands on. That services answer behind it is proven where they run."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from chassis.runtime.server import KEEP_ALIVE_SECONDS
from devstack.settings import CHECKOUT, SERVICES
from devstack.stack import Stack

Devstack = Callable[..., subprocess.CompletedProcess[str]]
GatewayWith = Callable[[Mapping[str, str]], Stack]

LIMIT_BYTES = 64 * 1024
EXPOSED = "ETag, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
TOKEN = {"Authorization": "Bearer head.claims.signature"}
BEARER = b"Authorization: Bearer head.claims.signature\r\n"
HOST = b"Host: x\r\n"
OURS = {"x-content-type-options": "nosniff", "cache-control": "no-store", "content-type": "application/problem+json"}


def assert_problem(answer: httpx.Response, status: int, slug: str) -> None:
    """It is a problem document of the gateway's own, with all that goes with it."""
    assert answer.status_code == status
    assert answer.headers.items() >= OURS.items()
    assert answer.json().items() >= {"type": f"/problems/{slug}", "status": status}.items()
    assert answer.json()["instance"] == answer.headers["x-request-id"]


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, devstack: Devstack, plain_environ: Mapping[str, str]
) -> Iterator[Stack]:
    """A gateway alone: nobody answers behind it but who stands in."""
    data = tmp_path_factory.mktemp("gateway")
    up = devstack("up", "--data", data, "--only", "nginx")
    assert up.returncode == 0, up.stderr
    yield Stack(data, only=("nginx",), environ=plain_environ)
    assert devstack("down", "--data", data).returncode == 0


# -- routes and refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "slug"),
    [
        ("/", 404, "not-found"),
        ("/healthz", 404, "not-found"),
        ("/readyz", 404, "not-found"),
        ("/metrics", 404, "not-found"),
        ("/openapi", 404, "not-found"),
        ("/goals/%2e%2e/metrics", 404, "not-found"),
        ("/goalsx", 404, "not-found"),
        ("/problem", 404, "not-found"),
        ("/shop/products", 502, "bad-gateway"),  # no service runs in this stack
        ("/goals", 502, "bad-gateway"),
        ("/streams/x", 502, "bad-gateway"),
        ("/ledger/proof", 502, "bad-gateway"),
        ("/config", 502, "bad-gateway"),
        ("/notify/pusher", 502, "bad-gateway"),
        ("/notify/byteplus", 502, "bad-gateway"),
        ("/notify/so-net", 502, "bad-gateway"),
    ],
)
def test_its_own_answers_are_problems(stack: Stack, path: str, status: int, slug: str) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = httpx.request(method, f"{stack.gateway}{path}", headers=TOKEN)

        assert_problem(answer, status, slug)


@pytest.mark.parametrize(
    "path",
    [
        "/goals",
        "/goal/x",
        "/%67oals",
        "//goals",
        "/shop/products",
        "/shop/orders%0a",
        "/shop/redirect-outside",
        "/pusher/auth",
        "/notifications",
        "/config",
        "/gifts",
        "/wallets/me",
    ],
)
def test_who_has_no_token_is_refused(stack: Stack, path: str) -> None:
    for headers in ({}, {"Authorization": ""}):
        answer = httpx.post(f"{stack.gateway}{path}", headers=headers)

        assert_problem(answer, 401, "token-missing")
        assert answer.headers["www-authenticate"] == 'Bearer realm="footlights"'


@pytest.mark.parametrize(
    "path", ["/notify/pusher", "/notify/so-net", "/tools/POST.html", "/redirect-in/x", "/shop/redirect-in/x"]
)
def test_vendors_and_browsers_on_their_way_need_no_token(stack: Stack, path: str) -> None:
    assert_problem(httpx.post(f"{stack.gateway}{path}"), 502, "bad-gateway")


def test_a_token_is_missed_before_the_body_is_read_or_measured(stack: Stack) -> None:
    for length in (10, LIMIT_BYTES + 1):
        head = b"POST /gifts HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length

        answer = first_bytes(stack, head)

        assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_body_over_64_kib_is_refused(stack: Stack) -> None:
    answer = httpx.post(f"{stack.gateway}/goals", content=b"x" * (LIMIT_BYTES + 1), headers=TOKEN)

    assert_problem(answer, 413, "body-too-large")
    whole = httpx.post(f"{stack.gateway}/goals", content=b"x" * LIMIT_BYTES, headers=TOKEN)
    assert whole.status_code == 502


def test_a_body_of_unknown_length_is_refused_when_it_has_passed_64_kib(stack: Stack) -> None:
    with stand_in(stack) as service, connected(stack) as client:
        client.sendall(b"POST /goals HTTP/1.1\r\n" + HOST + BEARER + b"Transfer-Encoding: chunked\r\n\r\n")
        line, _ = service.accept()
        with closing(line):
            client.sendall(b"%x\r\n%b\r\n" % (LIMIT_BYTES + 1, b"x" * (LIMIT_BYTES + 1)))

            answer = client.recv(65_536)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"type":"/problems/body-too-large"' in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: \xc2\x9b/\r\n\r\n", 400),
        (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /../x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # how TLS begins
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
        (b"POST /goals HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /goals HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET /goals HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\n\r\n", 404),
        (b"TRACE /goals HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"FOO /goals HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"PROPFIND /goals HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"POST /goals HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST /goals HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: deflate\r\n\r\n", 501),
        (b"GET /goals HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /goals HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    ],
)
def test_what_is_hardly_http_is_a_problem_too(stack: Stack, request_: bytes, status: int) -> None:
    head, _, body = raw(stack, request_).partition(b"\r\n\r\n")

    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert first.startswith(f"HTTP/1.1 {status} ")
    assert headers.items() >= OURS.items()
    assert json.loads(body)["instance"] == headers["x-request-id"]
    assert json.loads(body)["status"] == status
    assert ("allow" in headers) == (status == 405)


def test_an_id_that_is_none_is_replaced_and_never_repeated(stack: Stack) -> None:
    for given in ('"}', "a" * 65, "a b", "\\"):
        answer = httpx.get(stack.gateway, headers={"X-Request-Id": given})

        assert_problem(answer, 404, "not-found")
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert httpx.get(stack.gateway, headers={"X-Request-Id": "Mine-1_"}).headers["x-request-id"] == "Mine-1_"


def test_every_service_is_behind_it() -> None:
    template = Path(__file__).parents[2] / "gateway" / "routes.conf.template"
    routes = template.read_text()

    for service in SERVICES:
        assert f"${{{service.replace('-', '_').upper()}_API}}" in routes


# -- what it hands on --------------------------------------------------------------------------------------------------


def test_it_passes_ids_and_never_repeats_a_request(stack: Stack) -> None:
    with stand_in(stack) as service, connected(stack) as client:
        client.sendall(b"DELETE /goals/x?a=%2F HTTP/1.1\r\nX-Client-Id: me\r\n" + HOST + BEARER + b"\r\n")
        line, _ = service.accept()
        request = line.recv(65_536).decode().lower()
        line.close()
        answer = client.recv(65_536)
        service.settimeout(0.2)
        with pytest.raises(TimeoutError):
            service.accept()

    assert request.startswith("delete /goals/x?a=%2f http/1.1\r\n")
    assert "x-client-id: me\r\n" in request
    assert "x-request-id: " in request
    assert b"/problems/bad-gateway" in answer


def test_a_service_sees_a_request_before_its_body_and_its_refusal_is_passed_on_at_once(stack: Stack) -> None:
    """So a body that dribbles is under the service's limit of time, and a wrong token is refused before it."""
    late = b'HTTP/1.1 408 Request Timeout\r\nx-request-id: theirs\r\ncontent-length: 4\r\n\r\n"no"'
    with stand_in(stack) as service, connected(stack) as client:
        client.sendall(b"POST /goals HTTP/1.1\r\n" + HOST + BEARER + b"Content-Length: 60000\r\n\r\nx")
        line, _ = service.accept()
        with closing(line):
            while b"\r\n\r\n" not in line.recv(65_536):
                pass
            line.sendall(late)

            answer = b"".join(iter(lambda: client.recv(65_536), b""))  # and the connection ends, the body in it

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.count(b"x-request-id: theirs") == 1


def test_who_reads_slowly_fills_no_disk(stack: Stack) -> None:
    length = 30 << 20
    folder = stack.data / "nginx" / "proxy"
    with stand_in(stack) as service, connected(stack) as client:
        client.sendall(b"GET /goals HTTP/1.1\r\n" + HOST + BEARER + b"\r\n")
        line, _ = service.accept()
        with closing(line):
            line.settimeout(1)
            line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length)
            with pytest.raises(TimeoutError):  # the service waits, with what has no place on the way
                line.sendall(b"x" * length)

            nginx = psutil.Process(stack.process("nginx").pid)
            assert not [file for file in nginx.open_files() if str(folder) in file.path]
    assert not [file for file in folder.rglob("*") if file.is_file()]


# -- limits ------------------------------------------------------------------------------------------------------------

ADDRESS = {"GATEWAY_ADDRESS_RATE": "1r/m", "GATEWAY_ADDRESS_BURST": "9"}  # ten, and then one a minute
PER_TOKEN = {"GATEWAY_TOKEN_RATE": "1r/m", "GATEWAY_TOKEN_BURST": "4"}
PER_COMMAND = {"GATEWAY_COMMAND_RATE": "1r/m", "GATEWAY_COMMAND_BURST": "1"}


@pytest.fixture
def gateway_with(tmp_path: Path, devstack: Devstack, plain_environ: Mapping[str, str]) -> Iterator[GatewayWith]:
    """Start a gateway alone, with these settings."""

    def start(settings: Mapping[str, str]) -> Stack:
        up = devstack("up", "--data", tmp_path, "--only", "nginx", **settings)
        assert up.returncode == 0, up.stderr
        return Stack(tmp_path, only=("nginx",), environ=plain_environ)

    yield start
    devstack("down", "--data", tmp_path)


def token(claims: str, signature: str = "s", scheme: str = "Bearer ") -> dict[str, str]:
    return {"Authorization": f"{scheme}head.{claims}.{signature}"}


def statuses(stack: Stack, method: str, path: str, headers: list[dict[str, str]]) -> list[int]:
    return [httpx.request(method, f"{stack.gateway}{path}", headers=each).status_code for each in headers]


def test_an_address_has_its_limit_and_a_refusal_says_when_to_come_back(gateway_with: GatewayWith) -> None:
    stack = gateway_with(ADDRESS)

    many = statuses(stack, "GET", "/goals", [token(f"user{i}") for i in range(12)])

    assert many == [502] * 10 + [429] * 2
    refused = httpx.post(f"{stack.gateway}/notify/pusher")
    assert_problem(refused, 429, "too-many-requests")
    assert refused.headers["retry-after"] == "1"


def test_a_token_has_its_limit_however_it_is_written(gateway_with: GatewayWith) -> None:
    stack = gateway_with(PER_TOKEN)
    writings = [token("me"), token("me", "t"), token("me", scheme="bearer "), token("me", scheme="BEARER   ")]

    mine = statuses(stack, "GET", "/goals", [*writings, token("me"), token("me"), token("me", "u")])

    assert mine == [502] * 5 + [429] * 2
    assert statuses(stack, "GET", "/goals", [token("you")]) == [502]


def test_commands_have_a_limit_apart_from_reads(gateway_with: GatewayWith) -> None:
    stack = gateway_with(PER_COMMAND)
    commands = [
        ("POST", "/gifts"),
        ("POST", "/%67ifts"),
        ("POST", "/sessions/x/pay"),
        ("POST", "/streams/x/pay?a=b"),
        ("POST", "/goals?type=trigger-exclusive"),
        ("POST", "/goal"),
        ("PUT", "/goals/x/extend"),
        ("PUT", "/sessions/x/sources/y"),
        ("POST", "/sessions"),
        ("PATCH", "/sessions/x"),
        ("DELETE", "/%73essions/x"),
        ("PUT", "/blocks/x"),
        ("DELETE", "/blocks/x"),
        ("POST", "/wallets/x/credit"),
        ("POST", "/shop/orders"),
        ("DELETE", "/sessions/x/sources/y"),
        ("DELETE", "/goals/x"),
    ]

    for i, (method, path) in enumerate(commands):
        assert statuses(stack, method, path, [token(f"user{i}")] * 3) == [502, 502, 429], path
    assert statuses(stack, "GET", "/gifts/x", [token("user0")] * 5) == [502] * 5
    assert statuses(stack, "POST", "/pusher/auth", [token("user0")] * 5) == [502] * 5  # a client that comes back
    assert statuses(stack, "POST", "/gifts", [token("user2")]) == [429]  # one account for all of them


def test_an_address_has_so_many_requests_at_once(gateway_with: GatewayWith) -> None:
    stack = gateway_with({"GATEWAY_CONNECTIONS": "2"})
    waiting = b"GET /goals HTTP/1.1\r\n" + HOST + BEARER + b"\r\n"

    with stand_in(stack) as service, connected(stack) as first, connected(stack) as second:
        for client in (first, second):
            client.sendall(waiting)
            service.accept()[0].detach()  # held open until the test's process ends
        third = httpx.get(f"{stack.gateway}/goals", headers=TOKEN)

    assert_problem(third, 429, "too-many-requests")


def test_headers_have_so_much_time_in_all(gateway_with: GatewayWith) -> None:
    stack = gateway_with({"GATEWAY_HEADER_SECONDS": "1"})
    with connected(stack) as client:
        client.settimeout(0.2)
        client.sendall(b"GET / HTTP/1.1\r\nX-Long: ")

        assert ends(client, lambda: client.sendall(b"x"))


def test_a_body_that_stops_and_an_answer_that_nobody_takes_are_cut(gateway_with: GatewayWith) -> None:
    stack = gateway_with({"GATEWAY_BODY_SECONDS": "1", "GATEWAY_ANSWER_SECONDS": "1"})
    with stand_in(stack) as service, connected(stack) as silent, connected(stack) as deaf:
        silent.sendall(b"POST /goals HTTP/1.1\r\n" + HOST + BEARER + b"Content-Length: 9\r\n\r\nx")
        asked, _ = service.accept()
        with closing(asked):
            asked.settimeout(0.2)
            assert ends(asked)
        deaf.sendall(b"GET /goals HTTP/1.1\r\n" + HOST + BEARER + b"\r\n")
        asked, _ = service.accept()
        with closing(asked):
            asked.settimeout(30)
            asked.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20))
            with pytest.raises(ConnectionError):
                asked.sendall(b"x" * (64 << 20))


def ends(line: socket.socket, meanwhile: Callable[[], None] = lambda: None) -> bool:
    """Whether the other side ends this connection within 30 s."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            meanwhile()
            if not line.recv(65_536):
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def test_a_client_behind_a_load_balancer_is_who_that_says_it_is(gateway_with: GatewayWith) -> None:
    stack = gateway_with({**ADDRESS, "GATEWAY_ADDRESS_BURST": "1", "GATEWAY_TRUSTED_PROXY": "127.0.0.0/8"})

    def asked_by(*addresses: str) -> list[int]:
        return statuses(stack, "GET", "/goals", [{**TOKEN, "X-Forwarded-For": each} for each in addresses])

    assert asked_by("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1") == [502, 502, 502, 429]
    assert asked_by("192.0.2.9, 192.0.2.1", "10.9.9.9, 127.0.0.5, 192.0.2.1, 127.0.0.1") == [429, 429]
    network = ("2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::7:8")
    assert asked_by(*network, "2001:db8:1:3::1") == [502, 502, 429, 502]
    assert asked_by("2001:db8::1", "2001:db8::2:1:1:1", "2001:db8::") == [502, 502, 429]


def test_nobody_is_believed_who_the_client_is_unless_told_so(gateway_with: GatewayWith) -> None:
    stack = gateway_with({**ADDRESS, "GATEWAY_ADDRESS_BURST": "1"})

    answers = statuses(stack, "GET", "/goals", [{**TOKEN, "X-Forwarded-For": f"192.0.2.{i}"} for i in range(4)])

    assert answers == [502, 502, 429, 429]


# -- browsers ----------------------------------------------------------------------------------------------------------

LISTED = "https://a.example,http://b.example:8080"
ORIGINS = ("https://a.example", "http://b.example:8080")
STRANGERS = (
    "null",
    "https://evil.example",
    "http://a.example",
    "https://a.example:443",
    "https://a.example:8443",
    "http://b.example",
    "https://a.example.evil.example",
    "https://evil-a.example",
    "https://evil.example/https://a.example",
    "https://evil.example?https://a.example",
    "https://a.example@evil.example",
    "https://a.example/",
    "https://A.example",
    "HTTPS://a.example",
    "https://aXexample",
    "https://a.example https://a.example",
    "https://a.example,http://b.example:8080",
    "https://evil.example|https://evil.example",
    "a|a",
    "|",
    ",",
    "",
    "loopback",
    "http://localhost",
)


def preflight(stack: Stack, origin: str, path: str = "/gifts") -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-any"}
    return httpx.options(f"{stack.gateway}{path}", headers=headers)


def allowed(answer: httpx.Response) -> str | None:
    origin: str | None = answer.headers.get("access-control-allow-origin")
    return origin


def test_a_page_of_a_listed_origin_may_ask_and_is_told_so_by_refusals_too(gateway_with: GatewayWith) -> None:
    stack = gateway_with({"CORS_ORIGINS": LISTED, "GATEWAY_TOKEN_RATE": "1r/m", "GATEWAY_TOKEN_BURST": "1"})

    for origin in ORIGINS:
        first = preflight(stack, origin)
        assert (first.status_code, allowed(first)) == (204, origin)
        assert "POST" in first.headers["access-control-allow-methods"]
        for header in ("Authorization", "Content-Type", "Idempotency-Key", "X-Client-Id"):
            assert header in first.headers["access-control-allow-headers"]
        for headers, status in (({}, 401), (token(origin), 502), (token(origin), 502), (token(origin), 429)):
            answer = httpx.get(f"{stack.gateway}/goals", headers={**headers, "Origin": origin})
            assert (answer.status_code, allowed(answer)) == (status, origin)
            assert answer.headers["access-control-expose-headers"] == EXPOSED
            assert answer.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in answer.headers


def test_a_page_of_any_other_origin_may_not(gateway_with: GatewayWith) -> None:
    stack = gateway_with({"CORS_ORIGINS": LISTED})

    for origin in STRANGERS:
        answers = preflight(stack, origin), httpx.get(f"{stack.gateway}/goals", headers={"Origin": origin})
        assert [answer.status_code for answer in answers] == [401, 401]
        assert not [name for answer in answers for name in answer.headers if name.startswith("access-control-")]


def test_no_page_may_ask_by_default_and_where_none_is_listed(gateway_with: GatewayWith) -> None:
    stack = gateway_with({"CORS_ORIGINS": ""})

    for origin in (*ORIGINS, *STRANGERS):
        assert allowed(preflight(stack, origin)) is None


def test_a_page_of_this_machine_may_ask_a_local_stack(stack: Stack) -> None:
    ours = ("http://localhost", "http://localhost:5173", "https://127.0.0.1:8443", "http://[::1]:3000")
    others = (
        "http://localhost.evil.example",
        "http://localhost:5173.evil.example",
        "http://evil.example:5173",
        "http://127.0.0.1.evil.example",
        "http://127x0x0x1",
        "http://localhost:",
        "http://localhost:123456",
        "http://a@localhost",
        "loopback",
        "null",
        *ORIGINS,
    )

    assert [allowed(preflight(stack, origin)) for origin in ours] == [*ours]
    assert [allowed(preflight(stack, origin)) for origin in others] == [None] * len(others)


def test_a_preflight_is_answered_by_the_gateway_and_another_options_is_not(stack: Stack) -> None:
    origin = {"Origin": "http://localhost"}

    assert httpx.options(f"{stack.gateway}/goals", headers=origin).status_code == 401
    assert httpx.options(f"{stack.gateway}/goals", headers={**origin, **TOKEN}).status_code == 502


@pytest.mark.parametrize(("accepted", "compressed"), [(b"gzip, br", True), (b"identity", False)])
def test_what_a_service_says_is_compressed_for_who_can_read_that(
    stack: Stack, accepted: bytes, *, compressed: bool
) -> None:
    whole = json.dumps([{"id": i} for i in range(1_000)]).encode()
    ask = b"GET /goals HTTP/1.1\r\nConnection: close\r\nAccept-Encoding: %b\r\n" % accepted
    with stand_in(stack) as service, connected(stack) as client:
        client.sendall(ask + HOST + BEARER + b"\r\n")
        line, _ = service.accept()
        with closing(line):
            line.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(whole)
            )
            line.sendall(whole)
            answer = b"".join(iter(lambda: client.recv(65_536), b""))

    assert (b"Content-Encoding: gzip" in answer) == compressed
    assert (len(answer) < len(whole) / 4) == compressed
    assert answer.endswith(whole) != compressed


# -- its log -----------------------------------------------------------------------------------------------------------

COMMANDS = b"\x1b]0;title\x07\x1b[2J\xc2\x9b1m\x9b1m"  # what a terminal would obey, the last two as one byte each


def test_a_terminal_obeys_nothing_that_a_stranger_sent(stack: Stack, devstack: Devstack) -> None:
    for path in (b"/goals?secret=" + COMMANDS[10:], b"/" + COMMANDS[-4:], b"/x?secret=y"):
        for more in (b"Referer: " + COMMANDS, b"Host: " + COMMANDS, b"X-Request-Id: " + COMMANDS, b"X: y"):
            raw(stack, b"POST %b HTTP/1.1\r\nContent-Length: 70000\r\n%b%b\r\n%b\r\n" % (path, HOST, more, BEARER))
    httpx.get(stack.gateway, headers={"X-Request-Id": "the-last"})

    shown = devstack("logs", "nginx", "--data", stack.data).stdout
    written = (stack.data / "logs" / "nginx.log").read_bytes()

    assert '"request_id":"the-last"' in shown
    assert "secret" not in shown
    assert not [byte for byte in written if byte != ord("\n") and not 0x20 <= byte < 0x7F]


def test_a_log_that_holds_them_is_shown_with_them_spelt_out(stack: Stack, devstack: Devstack) -> None:
    log = stack.data / "logs" / "strange.log"
    log.write_bytes(b"a\tb \xc3\xa9\r" + COMMANDS + "\u202e\n".encode())

    shown = devstack("logs", "strange", "--data", stack.data).stdout

    assert shown == "a\tb é\\r\\x1b]0;title\\x07\\x1b[2J\\x9b1m\\x9b1m\\u202e\n"


def test_each_request_is_one_line_with_who_asked_and_who_answered(stack: Stack) -> None:
    httpx.delete(f"{stack.gateway}/goals/x?y=z", headers={**TOKEN, "X-Request-Id": "logged-once"})

    lines = (stack.data / "logs" / "nginx.log").read_text().splitlines()
    [line] = [json.loads(line) for line in lines if "logged-once" in line]
    said = {"address": "127.0.0.1", "method": "DELETE", "path": "/goals/x", "status": 502}
    assert line.items() >= said.items()
    assert line["service"].endswith(f":{stack.settings.port('goals-api')}")


# -- by hand -----------------------------------------------------------------------------------------------------------


def stand_in(stack: Stack) -> socket.socket:
    """Listens where goals would: for tests that read a request as a service gets it."""
    service = socket.create_server(("127.0.0.1", stack.settings.port("goals-api")))
    service.settimeout(60)
    return service


def connected(stack: Stack) -> socket.socket:
    gateway = urlsplit(stack.gateway)
    return socket.create_connection((gateway.hostname, gateway.port), timeout=60)


def first_bytes(stack: Stack, request: bytes) -> bytes:
    with connected(stack) as line:
        line.sendall(request)
        return line.recv(65_536)


def raw(stack: Stack, request: bytes) -> bytes:
    with connected(stack) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(65_536), b""))


def test_the_gateway_gives_up_an_idle_connection_before_a_service_does() -> None:
    """Or nginx would send a request into one that is closing."""
    template = (CHECKOUT / "deploy" / "gateway" / "routes.conf.template").read_text()

    kept = [int(seconds) for seconds in re.findall(r"keepalive_timeout (\d+)s;", template)]

    assert len(kept) >= len(SERVICES)
    assert max(kept) < KEEP_ALIVE_SECONDS


# -- the API's document and its pages ----------------------------------------------------------------------------------


def test_the_document_of_the_api_is_served_whole_small_and_only_once(stack: Stack) -> None:
    answer = httpx.get(f"{stack.gateway}/openapi.json")
    again = httpx.get(f"{stack.gateway}/openapi.json", headers={"If-None-Match": answer.headers["etag"]})

    assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
    assert answer.json() == json.loads((CHECKOUT / "docs" / "openapi.json").read_text())
    assert (again.status_code, again.content) == (304, b"")


def test_a_page_of_another_origin_may_read_the_document_if_it_is_listed(stack: Stack) -> None:
    for origin, told in (("http://localhost:5173", "http://localhost:5173"), ("https://evil.example", None)):
        assert allowed(httpx.get(f"{stack.gateway}/openapi.json", headers={"Origin": origin})) == told


def test_the_reference_asks_no_other_host_and_may_run_nothing_but_its_own_script(stack: Stack) -> None:
    page = httpx.get(f"{stack.gateway}/reference")
    asked = re.findall(r'(?:src|href)="([^"]*)"', page.text)

    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    for path in asked:
        assert httpx.get(f"{stack.gateway}{path}").status_code == 200
        assert "//" not in path
    script = httpx.get(f"{stack.gateway}/reference.js")
    assert script.headers["content-type"] == "text/javascript"
    assert "innerHTML" not in script.text
    assert "http" not in script.text


def test_the_type_of_every_problem_leads_to_what_is_said_of_it(stack: Stack) -> None:
    slugs = re.findall(r"^[|] `([a-z-]+)`", (CHECKOUT / "docs" / "problems.md").read_text(), re.MULTILINE)

    assert {"goal-not-active", "too-many-requests", "scope-missing"} <= set(slugs)
    for slug in slugs:
        answer = httpx.get(f"{stack.gateway}/problems/{slug}")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/reference#{slug}")
    for stranger in ("a%0d%0aX:y", "A", "%2f%2fevil.example", "a/b", ""):
        assert httpx.get(f"{stack.gateway}/problems/{stranger}").status_code == 404


def test_limits_are_told_with_every_answer_and_what_is_left_with_a_refusal(gateway_with: GatewayWith) -> None:
    stack = gateway_with({"GATEWAY_ADDRESS_RATE": "50r/s", "GATEWAY_TOKEN_RATE": "1r/m", "GATEWAY_TOKEN_BURST": "1"})
    answers = [httpx.get(f"{stack.gateway}/goals", headers=TOKEN) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [502, 502, 429]
    for answer in answers:
        assert '"address";q=50;w=1, "token";q=1;w=60, "commands"' in answer.headers["ratelimit-policy"]
    assert [answer.headers.get("ratelimit") for answer in answers] == [None, None, '"requests";r=0;t=1']
    assert answers[-1].headers["retry-after"] == "1"
