"""How the gateway serves the files of the web application: Nginx without the services behind it."""

import gzip
import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.fixtures.servers import temporary_home
from tests.local.gateway_site import ASSET, PAGE, SCRIPT, running_gateway
from tests.support.raw_http import send_raw_request

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEAD_END = b" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    """URL of the gateway."""
    with temporary_home() as home, running_gateway(home) as url:
        yield url


@pytest.fixture
def client(gateway: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway, trust_env=False, headers={"Accept-Encoding": "identity"}) as client:
        yield client


def assert_is_page(response: httpx.Response) -> None:
    assert (response.status_code, response.text) == (200, PAGE)
    headers = response.headers
    assert headers["Content-Type"] == "text/html"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["ETag"]
    assert headers.get_list("Content-Security-Policy") == [PAGE_POLICY]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]
    assert headers["X-Request-ID"]


def assert_is_problem(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    assert (response.json()["status"], response.json()["code"]) == (status, code)
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert "Permissions-Policy" not in response.headers
    assert "nginx" not in response.text.lower()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/index.html",
        "/login",
        "/chat/0197f0c2-0000-7000-8000-000000000000",
        "/shared",
        "/verify-email?token=x",
        "/admin/users/",
        "/assets",
        "/fonts",
        "/fonts/",
        "/apis",
        "/v1beta",
        "/healthy",
        "/favicon.svg/",
        "/index.html/",
        "/%F0%9F%98%80",
        "/%ff%fe",
        "/a%0d%0aSet-Cookie:x=y",
        "/%5c..%5coutside.txt",
        "/~root",
        f"/{'x' * 5000}",
        f"{'/x' * 2500}",
        "/?" + "x" * 5000,
    ],
)
def test_paths_outside_the_api_are_the_page(client: httpx.Client, path: str) -> None:
    assert_is_page(client.get(path))


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/unknown/x",
        "/api/v2/auth/login",
        "/v1",
        "/metrics",
        "/metrics/",
        "//metrics",
        "/%6detrics",
        "/readyz",
        "/livez",
        "/%76%31",
        "//v1",
        "/chat/../v1",
        "/health/",
        "/health/unknown",
        "/assets/",
        "/assets/index-00000000.js",
        "/assets/../assets/missing.css",
        "/assets/index-B3KJPTwJ.js/",
        "/assets%2fmissing.js",
        "/.secret",
        "/.git/config",
        "/.env",
        "/assets/.vite/manifest.json",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_paths_of_the_api_and_missing_files_are_not_the_page(gateway: str, method: str, path: str) -> None:
    status, headers, content = send_raw_request(gateway, f"{method} {path}".encode() + HEAD_END)
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert headers["cache-control"] == "no-store"
    assert content == b"" if method == "HEAD" else json.loads(content)["code"] == "not_found"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../outside.txt", 400),
        ("/assets/../../outside.txt", 400),
        ("/%2e%2e/outside.txt", 400),
        ("/assets/..%2f..%2foutside.txt", 400),
        ("/..;/outside.txt", 404),  # a hidden name
        ("/assets/%00.js", 400),
        ("/%", 400),
        ("//evil.example/", 200),
        ("//evil.example/..", 200),
        ("/\\evil.example", 200),
        ("http://evil.example/fonts", 200),
    ],
)
def test_odd_paths_reveal_nothing_and_redirect_nowhere(gateway: str, path: str, status: int) -> None:
    answered, headers, content = send_raw_request(gateway, f"GET {path}".encode() + HEAD_END)
    assert answered == status
    assert "location" not in headers
    assert content.decode() == PAGE if status == 200 else json.loads(content)["status"] == status
    assert b"evil.example" not in content


@pytest.mark.parametrize("path", ["/", "/login", "/index.html", ASSET, "/favicon.svg"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_files_are_only_read(client: httpx.Client, method: str, path: str) -> None:
    response = client.request(method, path, content=b"{}")
    assert_is_problem(response, 405, "method_not_allowed")
    assert response.headers.get_list("Allow") == ["GET, HEAD"]


@pytest.mark.parametrize("path", ["/", "/login", "/index.html", ASSET, "/robots.txt"])
def test_head_has_the_headers_of_get(client: httpx.Client, path: str) -> None:
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    varying = {"date", "x-request-id"}
    assert {name: value for name, value in head.headers.items() if name not in varying} == {
        name: value for name, value in got.headers.items() if name not in varying
    }


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        (ASSET, "text/javascript"),
        ("/assets/KaTeX_Main.woff2", "font/woff2"),
    ],
)
def test_assets_are_cached_for_ever(client: httpx.Client, path: str, content_type: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == content_type
    assert response.headers.get_list("Cache-Control") == ["public, max-age=31536000, immutable"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Security-Policy" not in response.headers  # that of the page applies


@pytest.mark.parametrize(("path", "content_type"), [("/favicon.svg", "image/svg+xml"), ("/robots.txt", "text/plain")])
def test_other_files_are_checked_each_time(client: httpx.Client, path: str, content_type: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["Content-Type"]) == (200, content_type)
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/login", ASSET, "/robots.txt"])
def test_unchanged_file_is_not_sent_again(client: httpx.Client, path: str) -> None:
    first = client.get(path)
    second = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.content) == (304, b"")
    for name in ("Cache-Control", "Content-Security-Policy", "ETag"):
        assert second.headers.get(name) == first.headers.get(name)
    # A browser that received the compressed file sends the weak form.
    assert client.get(path, headers={"If-None-Match": f"W/{first.headers['ETag']}"}).status_code == 304


@pytest.mark.parametrize("requested", ["bytes=0-9", "bytes=999999-", "bytes=-1", "lines=x"])
def test_ranges_are_ignored(client: httpx.Client, requested: str) -> None:
    response = client.get(ASSET, headers={"Range": requested})
    assert (response.status_code, response.text) == (200, SCRIPT)
    assert response.headers.get_list("Cache-Control") == ["public, max-age=31536000, immutable"]


def test_failed_precondition(client: httpx.Client) -> None:
    assert_is_problem(client.get(ASSET, headers={"If-Match": '"other"'}), 412, "precondition_failed")


@pytest.mark.parametrize("path", ["/", "/login", ASSET])
@pytest.mark.parametrize("proxy", [{}, {"Via": "1.1 proxy"}])
def test_text_is_compressed(gateway: str, path: str, proxy: dict[str, str]) -> None:
    plain = httpx.get(f"{gateway}{path}", headers={"Accept-Encoding": "identity"}, trust_env=False)
    with httpx.stream("GET", f"{gateway}{path}", headers={"Accept-Encoding": "gzip", **proxy}, trust_env=False) as sent:
        content = b"".join(sent.iter_raw())
    assert sent.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == sent.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(content) == plain.content
    assert len(content) < len(plain.content) / 5


def test_problem_documents_are_not_compressed(client: httpx.Client) -> None:
    response = client.get("/api/v1/unknown", headers={"Accept-Encoding": "gzip"})
    assert_is_problem(response, 404, "not_found")
    assert "Content-Encoding" not in response.headers


def test_service_that_is_down_is_a_problem(client: httpx.Client) -> None:
    for service in ("auth", "chat", "admin"):
        assert_is_problem(client.get(f"/api/v1/{service}/x"), 502, "bad_gateway")
    assert client.get("/health").json()["status"] == "degraded"


def test_connection_without_a_request_does_not_disturb(gateway: str, client: httpx.Client) -> None:
    address = httpx.URL(gateway)
    with socket.create_connection((address.host, address.port)) as idle:
        idle.sendall(b"GET / HT")
        assert_is_page(client.get("/"))


def test_access_log_has_pages_but_not_their_assets_and_health_checks() -> None:
    with temporary_home() as home:
        with running_gateway(home) as url:
            for path in ("/index.html", ASSET, "/assets/missing.js", "/health", "/chat/x?token=secret"):
                httpx.get(f"{url}{path}", trust_env=False)
        lines = (home / "logs" / "nginx.log").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/assets/missing.js", "/chat/x"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/v1/models", 502, "bad_gateway"),
        ("POST", "/v1/chat/completions?x=1", 502, "bad_gateway"),
        ("BREW", "/v1/models", 501, "not_implemented"),
    ],
)
def test_errors_of_the_openai_compatible_api_have_its_form(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    assert_is_problem(response, status, code)
    error = response.json()["error"]
    assert (error["code"], error["param"]) == (code, None)
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert "error" not in client.get("/api/v1/chat/sessions").json()
