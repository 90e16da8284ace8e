"""CORS preflights of the clients that pages use."""

import time

import pytest
from fastapi.testclient import TestClient

from tests.fixtures.services import CHAT, assert_problem

ORIGIN = "http://localhost:3000"
OPENAI = (
    "authorization, content-type, user-agent, x-stainless-arch, x-stainless-lang, x-stainless-os, "
    "x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, "
    "x-stainless-timeout"
)


def preflight(client: TestClient, path: str, headers: str, origin: str = ORIGIN, method: str = "POST"):  # type: ignore[no-untyped-def] # noqa: ANN201
    return client.options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )


@pytest.mark.parametrize(
    "headers",
    [
        OPENAI,
        "x-stainless-arch",
        "authorization, content-type, traceparent, tracestate, baggage",
        "accept, authorization, content-type, idempotency-key, last-event-id",
        "authorization, http-referer, x-title",
        "X-Session-ID",
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", f"{CHAT}/direct/stream"])
def test_headers_of_clients_are_allowed(chat_service: TestClient, path: str, headers: str) -> None:
    response = preflight(chat_service, path, headers)
    assert response.status_code == 200, response.text
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    allowed = {name.strip().lower() for name in response.headers["Access-Control-Allow-Headers"].split(",")}
    assert {name.strip().lower() for name in headers.split(",")} <= allowed


@pytest.mark.parametrize(
    ("headers", "origin", "method"),
    [
        ("x-secret", ORIGIN, "POST"),
        ("x-stainless-arch, x-secret", ORIGIN, "POST"),
        ("x-stainless-a b", ORIGIN, "POST"),
        ("authorization", "http://evil.example", "POST"),
        ("authorization", ORIGIN, "BREW"),
    ],
)
def test_refused_preflight_is_a_problem(chat_service: TestClient, headers: str, origin: str, method: str) -> None:
    assert_problem(preflight(chat_service, f"{CHAT}/sessions", headers, origin, method), 400, "cors_refused")
    refused = preflight(chat_service, "/v1/models", headers, origin, method)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "cors_refused"


def test_many_headers_are_examined_in_linear_time(chat_service: TestClient) -> None:
    started = time.process_time()
    response = preflight(chat_service, f"{CHAT}/sessions", "x-stainless-arch," * 1800 + "," * 30_000)
    assert time.process_time() - started < 0.5
    assert_problem(response, 400, "cors_refused")
