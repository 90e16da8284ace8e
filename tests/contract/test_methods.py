"""Request methods: HEAD, OPTIONS, and refusals with the permitted methods."""

import json
import re
import threading
from collections import defaultdict
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from app.http.methods import METHODS
from tests.fixtures.services import CHAT, Chat, assert_problem
from tests.fixtures.streaming import ChatServer
from tests.fixtures.world import World
from tests.support.access import ENTRIES, generated
from tests.support.operations import OPERATIONS, Operation
from tests.support.provider import Provider, answers
from tests.support.raw_http import send_raw_request

RESOURCES: dict[tuple[str, str], set[str]] = defaultdict(set)
for operation in OPERATIONS.values():
    RESOURCES[operation.service, operation.path].add(operation.method)


def methods_of(resource: tuple[str, str]) -> set[str]:
    """Return the methods of a path, and of other templates with as many parameters that it matches.

    `/sessions/delete` is no id of a session.
    """
    service, path = resource
    return set().union(
        *(
            methods
            for (other, template), methods in RESOURCES.items()
            if other == service
            and template.count("{") <= path.count("{")
            and re.fullmatch(re.sub(r"\{\w+\}", "[^/{}]+", template), path.replace("{", "").replace("}", ""))
        )
    )


def allowed(methods: set[str]) -> str:
    supported = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    return ", ".join(method for method in METHODS if method in supported)


@pytest.mark.parametrize("resource", RESOURCES, ids="".join)
def test_unsupported_method_is_refused_with_allow_header(world: World, resource: tuple[str, str]) -> None:
    service, path = resource
    methods = methods_of(resource)
    for method in {*METHODS, "OPTIONS"} - methods - {"HEAD"}:
        response = world.services[service].request(method, path.replace("{", "").replace("}", ""))
        assert response.headers["Allow"] == allowed(methods)
        if method == "OPTIONS":
            assert (response.status_code, response.content) == (204, b"")
        else:
            assert_problem(response, 405, "method_not_allowed")


def test_path_of_two_routes_allows_methods_of_both(world: World) -> None:
    # FastAPI itself lists the methods of the first route only.
    assert [methods for methods in RESOURCES.values() if len(methods) > 2]
    response = world.services["chat"].put(f"{CHAT}/sessions")
    assert response.headers["Allow"] == "GET, HEAD, POST, OPTIONS"


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "HEAD", "GET"])
def test_unknown_path_gets_404_without_allow_header(chat: Chat, method: str) -> None:
    response = chat.request(method, "/nowhere")
    assert response.status_code == 404
    assert "Allow" not in response.headers


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "QUERY"])
def test_standard_method_of_no_resource_is_refused_with_allow_header(chat: Chat, method: str) -> None:
    response = chat.client.request(method, f"{CHAT}/sessions")
    assert_problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD, POST, OPTIONS"
    assert_problem(chat.client.request(method, f"{CHAT}/nowhere"), 404, "not_found")


@pytest.mark.parametrize("method", ["BREW", "PROPFIND", "*"])
@pytest.mark.parametrize("path", ["/sessions", "/nowhere"])
def test_unknown_method_is_501(chat: Chat, method: str, path: str) -> None:
    assert_problem(chat.client.request(method, f"{CHAT}{path}"), 501, "not_implemented")


@pytest.mark.parametrize(
    "operation", generated(lambda operation, _: operation.method == "GET" and operation.name != "follow_message")
)
def test_head_equals_get_without_content(world: World, operation: Operation) -> None:
    entry = ENTRIES[operation.key]
    caller = world.admin if entry.who == "admin" else world.owner
    path = operation.path.format_map(entry.ids(world, world.owner))
    client = world.services[operation.service]
    got = client.get(path, headers=caller.headers)
    head = client.head(path, headers=caller.headers)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert ("Content-Length" in head.headers) == ("Content-Length" in got.headers)


@pytest.mark.parametrize(("path", "status"), [("/livez", 200), ("/api/v1/auth/me", 401), ("/api/v1/auth/login", 405)])
def test_head_has_common_headers(auth_client: TestClient, path: str, status: int) -> None:
    head = auth_client.head(path)
    assert (head.status_code, head.content) == (status, b"")
    assert len(head.headers["X-Request-ID"]) >= 8
    assert head.headers["X-Content-Type-Options"] == "nosniff"


def test_head_of_event_stream_ends_immediately(server: ChatServer, provider: Provider) -> None:
    session = server.open()
    gate = threading.Event()
    provider.always(answers("Hello. Hello.", end=gate))
    with server.ask(session) as reader:
        message = reader.take(1)[0].data["message_id"]
        path = f"/sessions/{session}/messages/{message}/events"
        # More than the limit on concurrent streams, all over the same connection.
        for _ in range(20):
            head = server.http.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["Content-Type"].startswith("text/event-stream")
        gate.set()  # the answer has not ended before
        list(reader)


@pytest.mark.parametrize(
    ("request_headers", "detail"),
    [
        ({"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}, "Disallowed CORS origin."),
        ({"Origin": "http://localhost:3000", "Access-Control-Request-Method": "BREW"}, "Disallowed CORS method."),
    ],
)
def test_refused_preflight_request_gets_problem(
    auth_client: TestClient, request_headers: dict[str, str], detail: str
) -> None:
    problem = assert_problem(auth_client.options("/api/v1/auth/me", headers=request_headers), 400, "cors_refused")
    assert problem["detail"] == detail


HOST = b"Host: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("request_line", "header", "status", "code"),
    [
        pytest.param(b"FOO /livez HTTP/1.1", b"", 501, "not_implemented", id="unknown method"),
        pytest.param(b"foo /livez HTTP/1.1", b"", 501, "not_implemented", id="method in lower case"),
        pytest.param(b"PROPFIND /livez HTTP/1.1", b"", 501, "not_implemented", id="method of another protocol"),
        pytest.param(b"TRACE /livez HTTP/1.1", b"", 405, "method_not_allowed", id="TRACE"),
        pytest.param(b"CONNECT localhost:80 HTTP/1.1", b"", 400, "bad_request", id="CONNECT"),
        pytest.param(b"OPTIONS * HTTP/1.1", b"", 404, "not_found", id="no resource"),
        pytest.param(b"GET livez HTTP/1.1", b"", 400, "bad_request", id="no path"),
        pytest.param(b"GET /livez HTTP/9.9", b"", 400, "bad_request", id="unknown version"),
        pytest.param("GET /livez/ä HTTP/1.1".encode(), b"", 400, "bad_request", id="path that is not ASCII"),
        pytest.param(b"GET /livez HTTP/1.1", b"X-Test: a\x01b\r\n", 400, "bad_request", id="control character"),
        pytest.param(b"GET /livez HTTP/1.1", b"X Test: 1\r\n", 400, "bad_request", id="space in a name"),
        pytest.param(b"GET /livez HTTP/1.1", b"Content-Length: x\r\n", 400, "bad_request", id="length"),
        pytest.param(
            b"POST /livez HTTP/1.1",
            b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            400,
            "bad_request",
            id="two lengths",
        ),
        pytest.param(b"\x16\x03\x01\x02", b"", 501, "not_implemented", id="TLS"),
        pytest.param(b"PRI * HTTP/2.0", b"", 400, "bad_request", id="HTTP/2"),
    ],
)
def test_invalid_http_is_refused_with_problem(
    replica_urls: tuple[str, str], request_line: bytes, header: bytes, status: int, code: str
) -> None:
    request_id = uuid4().hex.encode()
    request = request_line + b"\r\nX-Request-ID: " + request_id + b"\r\n" + HOST + header + b"\r\n"
    answered, headers, content = send_raw_request(replica_urls[0], request)
    problem = json.loads(content)
    assert (answered, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == headers["x-request-id"]
    assert headers["cache-control"] == "no-store"
    if header:
        assert problem["request_id"] == request_id.decode()
