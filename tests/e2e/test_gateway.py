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


@pytest.mark.parametrize("path", ["/api", "/api/v1", "/api/v1/unknown/x", "/v1/models", "/health/x", "/assets/x.js"])
def test_unknown_paths_of_the_api_are_not_found(anonymous: httpx.Client, path: str) -> None:
    assert_gateway_problem(anonymous.get(path), 404, "not_found")


@pytest.mark.parametrize("path", ["/", "/chat", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json"])
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
    database = Sql(stack.settings["DATABASE_URL"])
    addresses = database.rows(
        """
        SELECT DISTINCT host(ip) AS ip FROM auth_sessions JOIN users ON users.id = user_id WHERE username = 'elsewhere'
        """
    )
    database.close()
    assert [row["ip"] for row in addresses] == ["127.0.0.1"]
