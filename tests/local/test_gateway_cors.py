"""Headers for pages of other origins in the gateway's own responses: Nginx without the services behind it."""

import re
from collections.abc import Iterator

import httpx
import pytest

from app.http.middleware import CORS_HEADERS, CORS_METHODS, EXPOSED_HEADERS
from local.paths import PROJECT
from tests.fixtures.servers import temporary_home
from tests.local.gateway_site import running_gateway

ORIGINS = ["https://app.example", "capacitor://localhost", "https://xn--bcher-kva.example:8443"]
SETTING = "https://App.Example:443/, capacitor://localhost, https://bücher.example:8443"


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """URL of the gateway."""
    with temporary_home() as home, running_gateway(home, {"CORS_ORIGINS": SETTING}) as url:
        yield url


@pytest.fixture
def client(gateway: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway, trust_env=False) as client:
        yield client


def assert_readable(response: httpx.Response, origin: str) -> None:
    headers = response.headers
    assert headers.get_list("Access-Control-Allow-Origin") == [origin]
    assert headers.get_list("Access-Control-Allow-Credentials") == ["true"]
    assert headers["Access-Control-Expose-Headers"].split(", ") == list(EXPOSED_HEADERS)
    assert headers["Vary"] == "Origin"


def assert_not_readable(response: httpx.Response) -> None:
    assert not [name for name in response.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/nowhere", b"", 404),
        ("POST", "/api/v1/chat/x", b"x" * 1_100_000, 413),
        ("POST", "/api/v1/auth/login", b"{}", 502),
        ("GET", "/api/v1/chat/sessions", b"", 502),
        ("DELETE", "/api/v1/admin/x", b"", 502),
        ("DELETE", "/health", b"", 405),
        ("GET", "/health", b"", 200),
        ("POST", "/login", b"", 405),
        ("BREW", "/api/v1/auth/me", b"", 501),
    ],
)
def test_responses_of_the_gateway_are_readable_for_allowed_origins(
    client: httpx.Client, origin: str, method: str, path: str, body: bytes, status: int
) -> None:
    response = client.request(method, path, content=body, headers={"Origin": origin})
    assert response.status_code == status
    assert_readable(response, origin)
    if status >= 400:
        assert response.json()["status"] == status


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://app.example", "https://app.example:8443", "https://app.example.evil.com", "null"],
)
@pytest.mark.parametrize("path", ["/api/v1/nowhere", "/api/v1/auth/me", "/health"])
def test_other_origins_get_no_headers(client: httpx.Client, origin: str, path: str) -> None:
    response = client.get(path, headers={"Origin": origin})
    assert_not_readable(response)
    assert response.headers["Vary"] == "Origin"
    preflight = client.options(path, headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
    assert preflight.status_code >= 400
    assert_not_readable(preflight)


def test_requests_without_an_origin_get_no_headers(client: httpx.Client) -> None:
    assert_not_readable(client.get("/api/v1/nowhere"))


@pytest.mark.parametrize("path", ["/", "/index.html", "/robots.txt"])
def test_files_are_for_their_own_origin(client: httpx.Client, path: str) -> None:
    response = client.get(path, headers={"Origin": ORIGINS[0], "Accept-Encoding": "identity"})
    assert response.status_code == 200
    assert_not_readable(response)


@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/api/v1/chat/sessions", "/v1/models", "/health/chat"])
@pytest.mark.parametrize("method", CORS_METHODS)
@pytest.mark.parametrize(
    "requested",
    [
        None,
        "authorization",
        "Authorization,content-type, idempotency-key",
        "last-event-id,accept",
        "content-type,traceparent,x-stainless-retry-count",
    ],
)
def test_preflight_succeeds_while_the_services_are_away(
    client: httpx.Client, path: str, method: str, requested: str | None
) -> None:
    headers = {"Origin": ORIGINS[0], "Access-Control-Request-Method": method}
    if requested is not None:
        headers["Access-Control-Request-Headers"] = requested
    response = client.options(path, headers=headers)
    assert (response.status_code, response.content) == (204, b"")
    assert_readable(response, ORIGINS[0])
    assert response.headers["Access-Control-Allow-Methods"].split(", ") == list(CORS_METHODS)
    assert response.headers.get("Access-Control-Allow-Headers") == requested
    assert int(response.headers["Access-Control-Max-Age"]) > 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Access-Control-Request-Method": "BREW"},
        {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "X-Refresh-Transport"},
        {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization, x-other"},
        {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "acceptx"},
    ],
)
def test_preflights_that_a_service_refuses_are_passed_on(client: httpx.Client, headers: dict[str, str]) -> None:
    response = client.options("/api/v1/auth/me", headers={"Origin": ORIGINS[0], **headers})
    assert (response.status_code, response.json()["code"]) == (502, "bad_gateway")
    assert_readable(response, ORIGINS[0])


def test_default_origin() -> None:
    with temporary_home() as home, running_gateway(home) as url:
        response = httpx.get(f"{url}/api/v1/nowhere", headers={"Origin": "http://localhost:3000"}, trust_env=False)
        assert_readable(response, "http://localhost:3000")


def test_lists_are_those_of_the_services() -> None:
    text = (PROJECT / "nginx.conf").read_text()
    assert f'"~." "{", ".join(EXPOSED_HEADERS)}";' in text
    assert f'1 "{", ".join(CORS_METHODS)}";' in text
    (requested,) = re.findall(r'"~\*\^OPTIONS \((.+)\) \(\[ ,\]\|\((.+)\)\(\?=', text)
    safelisted = {"Accept", "Accept-Language", "Content-Language", "Content-Type"}
    assert requested[0].split("|") == list(CORS_METHODS)
    assert set(requested[1].split("|")) == safelisted | set(CORS_HEADERS) | {"X-Stainless-[A-Z0-9-]+"}
