"""Unknown methods and invalid requests get problem documents from the gateway and the services."""

import json

import httpx
import pytest

from local.stack import Stack
from tests.e2e.stack_control import lines_of_request
from tests.support.raw_http import send_raw_request

pytestmark = pytest.mark.e2e

HOST = b"Host: localhost\r\nConnection: close\r\n"
PATHS = [
    b"/",
    b"/health",
    b"/health/chat",
    b"/nowhere",
    b"/api/v1/auth/me",
    b"/api/v1/chat/sessions",
    b"/api/v1/admin/overview",
]


def request(stack: Stack, line: bytes, header: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    return send_raw_request(stack.url, line + b" HTTP/1.1\r\n" + HOST + header + b"\r\n")


def assert_problem(answer: tuple[int, dict[str, str], bytes], status: int, code: str) -> None:
    answered, headers, content = answer
    problem = json.loads(content)
    assert (answered, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert problem["request_id"] == headers["x-request-id"]


@pytest.mark.parametrize("method", [b"FOO", b"PROPFIND", b"TRACE", b"GE-T", b"LOCK"])
def test_unknown_method_is_not_implemented(stack: Stack, method: bytes) -> None:
    for path in PATHS:
        assert_problem(request(stack, method + b" " + path), 501, "not_implemented")


def test_a_proxy_request_is_not_implemented(stack: Stack) -> None:
    assert_problem(request(stack, b"CONNECT localhost:80"), 501, "not_implemented")


@pytest.mark.parametrize(
    ("line", "allow"),
    [
        (b"POST /", "GET, HEAD"),
        (b"OPTIONS /", "GET, HEAD"),
        (b"PATCH /nowhere", "GET, HEAD"),
        (b"DELETE /health?x", "GET, HEAD"),
        (b"POST /health/chat", "GET, HEAD, OPTIONS"),
        (b"PUT /api/v1/chat/sessions", "GET, HEAD, POST, OPTIONS"),
        (b"HEAD /api/v1/auth/login", "POST, OPTIONS"),
    ],
)
def test_unsupported_method_is_refused_with_the_allowed_methods(stack: Stack, line: bytes, allow: str) -> None:
    status, headers, content = answer = request(stack, line, b"Content-Length: 0\r\n")
    assert (status, headers["allow"]) == (405, allow)
    if line.startswith(b"HEAD"):
        assert content == b""
    else:
        assert_problem(answer, 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/", "/health", "/health/chat", "/nowhere", "/api/v1/auth/me"])
def test_head_returns_the_headers_of_get(anonymous: httpx.Client, path: str) -> None:
    got, head = anonymous.get(path), anonymous.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


@pytest.mark.parametrize(
    ("line", "header"),
    [
        pytest.param("GET /api/v1/auth/ä".encode(), b"", id="path that is not ASCII"),
        pytest.param(b"GET /api/v1/auth/me", b"X-Test: a\x01b\r\n", id="control character in a header"),
        pytest.param(b"GET /api/v1/auth/me", b"X-Test: a\x00b\r\n", id="NUL in a header"),
        pytest.param(b"GET /api/v1/auth/me?\x01", b"", id="control character in a query"),
        pytest.param(b"OPTIONS *", b"", id="no resource"),
    ],
)
def test_invalid_request_gets_a_problem_document(stack: Stack, line: bytes, header: bytes) -> None:
    assert_problem(request(stack, line, header), 400, "bad_request")


@pytest.mark.parametrize(("line", "status"), [("FOO /", 501), ("POST /nowhere", 405), ("DELETE /health", 405)])
def test_access_log_contains_the_method_of_refused_requests(stack: Stack, line: str, status: int) -> None:
    _, headers, _ = request(stack, line.encode(), b"Content-Length: 0\r\n")
    (logged,) = lines_of_request(stack, "nginx", headers["x-request-id"])
    method, path = line.split()
    assert (logged["method"], logged["path"], logged["status"]) == (method, path, status)
