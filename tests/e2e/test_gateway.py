"""Limits, refusals and headers of the gateway."""

import re
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest

from local.stack import Stack
from tests.e2e.chat_requests import ask, assert_gateway_problem, open_session
from tests.e2e.conftest import PASSWORD, UserClient
from tests.e2e.stack_control import lines_of_request
from tests.fixtures.database import Sql
from tests.support.waiting import LONGEST_WAIT

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    "path",
    ["/api", "/api/v1", "/livez", "/readyz", "/metrics", "/api/v1/unknown/x", "/v1", "/health/x", "/assets/x.js"],
)
def test_unknown_paths_of_the_api_are_not_found(anonymous: httpx.Client, path: str) -> None:
    assert_gateway_problem(anonymous.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_and_metrics_of_a_service_are_not_public(anonymous: httpx.Client, path: str) -> None:
    assert_gateway_problem(anonymous.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/", "/chat", "/docs/x/y", "/openapi.json"])
def test_other_paths_are_the_web_application_and_no_path_of_a_service(anonymous: httpx.Client, path: str) -> None:
    response = anonymous.get(path)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html")
    assert response.text == anonymous.get("/index.html").text
    assert '<div id="app"' in response.text


def test_the_page_loads_files_of_this_origin_only(anonymous: httpx.Client) -> None:
    page = anonymous.get("/").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any(source.startswith("/assets/") and source.endswith(".js") for source in sources)
    for source in sources:
        assert source.startswith("/")
        assert anonymous.get(source).status_code == 200
    # No inline script: the content security policy would block it.
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []


def test_api_documentation_has_its_own_policy(anonymous: httpx.Client) -> None:
    for service in ("auth", "chat", "admin"):
        response = anonymous.get(f"/api/v1/{service}/docs")
        assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "swagger" in response.text
        assert "script-src 'self'; style" not in response.headers.get("Content-Security-Policy", "")
        assert "Permissions-Policy" not in response.headers


def test_one_page_documents_all_services_without_other_requests(anonymous: httpx.Client) -> None:
    page = anonymous.get("/docs")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'; style-src" in page.headers["Content-Security-Policy"]
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert [source for source in sources if not source.startswith(("/docs/", "data:"))] == []
    for source in [*filter(lambda source: source.startswith("/"), sources), "/docs/openapi.json"]:
        assert anonymous.get(source).status_code == 200
    assert "/v1/chat/completions" in anonymous.get("/docs/openapi.json").json()["paths"]
    assert anonymous.get("/docs/passwd").status_code == 404


def test_chat_completions_through_the_gateway(make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("editor")
    scopes = {"name": "editor", "scopes": ["chat:completions"]}
    key = user.client.post("/api/v1/auth/api-keys", json=scopes).raise_for_status().json()["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert user.client.get("/v1/models", headers=headers).json()["object"] == "list"
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
    answer = user.client.post("/v1/chat/completions", json=body, headers=headers).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"]
    stream = user.client.post("/v1/chat/completions", json={**body, "stream": True}, headers=headers)
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert stream.text.endswith("data: [DONE]\n\n")
    large = user.client.post("/v1/chat/completions", content=b"x" * 4_300_000, headers=headers)
    assert_gateway_problem(large, 413, "content_too_large")
    assert large.json()["error"]["code"] == "content_too_large"
    assert user.client.post("/v1/responses", json={}, headers=headers).json()["error"]["code"] == "not_found"


def test_responses_of_services_are_not_compressed(anonymous: httpx.Client) -> None:
    response = anonymous.get("/api/v1/auth/openapi.json", headers={"Accept-Encoding": "gzip"})
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert "Content-Encoding" not in response.headers


def test_gateway_rejects_large_bodies(stack: Stack, make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("verbose")
    session = open_session(user)
    response = ask(user, session, "x" * 1_100_000)
    assert_gateway_problem(response, 413, "content_too_large")
    (line,) = lines_of_request(stack, "nginx", response.headers["X-Request-ID"])
    assert line["upstream"] == ""
    assert user.client.get(f"/api/v1/chat/sessions/{session}").json()["message_count"] == 0


def test_gateway_rejects_large_request_lines_and_headers(anonymous: httpx.Client) -> None:
    assert_gateway_problem(anonymous.get(f"/{'x' * 10_000}"), 414, "uri_too_long")
    headers = {"X-Padding": "x" * 10_000}
    assert_gateway_problem(anonymous.get("/health", headers=headers), 431, "request_header_fields_too_large")


def test_invalid_http_gets_a_problem_document(stack: Stack) -> None:
    address = (urlsplit(stack.url).hostname, stack.ports.gateway)
    with socket.create_connection(address, timeout=LONGEST_WAIT) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        answer = connection.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 400 ")
    assert "application/problem+json" in answer


def test_login_address_ignores_forwarded_headers_of_clients(
    stack: Stack, make_user_client: Callable[[str], UserClient]
) -> None:
    user = make_user_client("elsewhere")
    forged_headers = {"X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    form = {"username": "elsewhere", "password": PASSWORD}
    assert user.client.post("/api/v1/auth/login", data=form, headers=forged_headers).status_code == 200
    database = Sql(stack.owner_database_url)
    addresses = database.rows(
        """
        SELECT DISTINCT host(ip) AS ip FROM auth_sessions JOIN users ON users.id = user_id WHERE username = 'elsewhere'
        """
    )
    database.close()
    assert [row["ip"] for row in addresses] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/auth/me", 401),
        ("GET", "/api/v1/unknown/x", 404),
        ("PUT", "/api/v1/chat/sessions", 405),
        ("OPTIONS", "/api/v1/chat/sessions", 204),
        ("GET", "/health", 200),
        ("GET", "/health/auth", 200),
    ],
)
def test_responses_have_the_headers_for_other_origins_once(
    anonymous: httpx.Client, method: str, path: str, status: int
) -> None:
    origin = "http://localhost:3000"
    response = anonymous.request(method, path, headers={"Origin": origin})
    assert response.status_code == status
    for name, value in (("Allow-Origin", origin), ("Allow-Credentials", "true")):
        assert response.headers.get_list(f"Access-Control-{name}") == [value]
    assert response.headers.get_list("Vary") == ["Origin"]
    other = anonymous.request(method, path, headers={"Origin": "http://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_refused_preflight_gets_the_problem_of_the_service(anonymous: httpx.Client) -> None:
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "GET"}
    preflight = anonymous.options("/api/v1/auth/me", headers=headers)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, "http://localhost:3000")
    refused = anonymous.options("/api/v1/auth/me", headers=headers | {"Access-Control-Request-Headers": "X-Other"})
    assert (refused.status_code, refused.json()["code"]) == (400, "cors_refused")
    refused = anonymous.options("/api/v1/auth/me", headers=headers | {"Origin": "http://evil.example"})
    assert (refused.status_code, refused.json()["code"]) == (400, "cors_refused")
    assert "Access-Control-Allow-Origin" not in refused.headers
