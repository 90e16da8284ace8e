"""Refresh tokens in a cookie: attributes, rotation, logout, and clients that do not ask for it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.cookies import Morsel, SimpleCookie
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app import auth_main
from app.config import Settings
from tests.auth.privacy.erasures import erase
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, PASSWORD, User, assert_problem, login

BY_COOKIE = {"X-Refresh-Transport": "cookie"}


@pytest.fixture(autouse=True)
def no_cookie_jar(auth_client: TestClient) -> Iterator[None]:
    """Tests send cookies explicitly."""
    auth_client.cookies.clear()
    yield
    auth_client.cookies.clear()


def sent_cookie(response: Response) -> Morsel[str]:
    (header,) = response.headers.get_list("Set-Cookie")
    cookie: SimpleCookie = SimpleCookie(header)
    assert list(cookie) == ["refresh_token"]
    return cookie["refresh_token"]


def assert_cleared(response: Response) -> None:
    cookie = sent_cookie(response)
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", "0", AUTH)


def send(client: TestClient, method: str, path: str, token: str | None = None, **arguments: Any) -> Response:  # noqa: ANN401 - passed on
    headers = BY_COOKIE | ({"Cookie": f"other=1; refresh_token={token}"} if token else {})
    response = client.request(method, f"{AUTH}{path}", headers=headers | arguments.pop("headers", {}), **arguments)
    client.cookies.clear()
    return response


def log_in(client: TestClient) -> Response:
    response = send(client, "POST", "/login", data={"username": "ada", "password": PASSWORD})
    assert response.status_code == 200, response.text
    return response


def bearer(response: Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


def is_logged_in(client: TestClient, response: Response) -> bool:
    return client.get(f"{AUTH}/me", headers=bearer(response)).status_code == 200


def test_login_sends_token_in_cookie_only(auth_client: TestClient, ada: User, settings: Settings) -> None:
    response = log_in(auth_client)
    assert response.json()["refresh_token"] is None
    cookie = sent_cookie(response)
    assert cookie.value
    assert cookie.value not in response.text
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"], cookie["domain"]) == (
        True,
        "strict",
        AUTH,
        "",
        "",
    )
    assert int(cookie["max-age"]) == settings.REFRESH_TOKEN_EXPIRE_DAYS * 86_400


@pytest.mark.parametrize(
    ("base_url", "public_url"), [("https://testserver", "http://x.example"), ("http://testserver", "https://x.example")]
)
def test_cookie_is_secure_under_tls(
    settings: Settings, auth_client: TestClient, ada: User, base_url: str, public_url: str
) -> None:
    changed = settings.model_copy(update={"PUBLIC_URL": public_url})
    with TestClient(auth_main.create(changed), base_url=base_url) as client:
        assert sent_cookie(log_in(client))["secure"] is True


def test_refresh_rotates_cookie_without_body(auth_client: TestClient, ada: User) -> None:
    first = sent_cookie(log_in(auth_client)).value
    response = send(auth_client, "POST", "/refresh", first)
    assert response.status_code == 200, response.text
    assert response.json()["refresh_token"] is None
    second = sent_cookie(response).value
    assert second != first
    assert is_logged_in(auth_client, response)
    assert send(auth_client, "POST", "/refresh", second).status_code == 200
    assert_cleared(send(auth_client, "POST", "/refresh", first))  # a replay ends the login
    assert not is_logged_in(auth_client, response)


def test_two_tabs_that_refresh_at_once_get_the_same_cookie(auth_client: TestClient, ada: User) -> None:
    token = sent_cookie(log_in(auth_client)).value
    with ThreadPoolExecutor(4) as pool:
        responses = list(pool.map(lambda _: send(auth_client, "POST", "/refresh", token), range(4)))
    assert {response.status_code for response in responses} == {200}
    assert len({sent_cookie(response).value for response in responses}) == 1


@pytest.mark.parametrize("token", [None, "x", "\u00ff" * 40, "A" * 86])
def test_bad_cookie_gets_401_and_is_cleared(auth_client: TestClient, ada: User, token: str | None) -> None:
    headers = BY_COOKIE | ({"Cookie": f"refresh_token={token}"} if token else {})
    raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    response = auth_client.post(f"{AUTH}/refresh", headers=raw_headers)
    assert_problem(response, 401, "invalid_refresh_token")
    assert_cleared(response)


def test_token_in_body_is_not_used_with_cookie_transport(auth_client: TestClient, ada: User) -> None:
    response = send(auth_client, "POST", "/refresh", json={"refresh_token": ada.refresh_token})
    assert_problem(response, 401, "invalid_refresh_token")


@pytest.mark.parametrize("headers", [{}, {"X-Refresh-Transport": "body"}])
def test_cookie_is_ignored_unless_requested(auth_client: TestClient, ada: User, headers: dict[str, str]) -> None:
    token = sent_cookie(log_in(auth_client)).value
    headers = headers | {"Cookie": f"refresh_token={token}"}
    refused = auth_client.post(f"{AUTH}/refresh", headers=headers)
    problem = assert_problem(refused, 422, "validation_error")
    assert problem["errors"] == [{"field": "body", "code": "missing", "message": "Field required"}]
    responses = [
        refused,
        auth_client.post(f"{AUTH}/refresh", headers=headers, json={"refresh_token": ada.refresh_token}),
        auth_client.post(f"{AUTH}/login", headers=headers, data={"username": "ada", "password": PASSWORD}),
        auth_client.post(f"{AUTH}/logout", headers=headers),
        auth_client.post(f"{AUTH}/logout", headers=headers | ada.headers),
    ]
    assert [response.status_code for response in responses] == [422, 200, 200, 401, 200]
    assert all(response.json()["refresh_token"] for response in responses[1:3])
    assert not any("Set-Cookie" in response.headers for response in responses)
    assert send(auth_client, "POST", "/refresh", token).status_code == 200


@pytest.mark.parametrize("path", ["/login", "/refresh", "/logout", "/logout-all"])
@pytest.mark.parametrize("value", ["", "Cookie", "cookie, body", "header", "1"])
def test_unknown_transport_is_refused(auth_client: TestClient, ada: User, path: str, value: str) -> None:
    content: dict[str, dict[str, Any]] = {
        "/login": {"data": {"username": "ada", "password": PASSWORD}},
        "/refresh": {"json": {"refresh_token": ada.refresh_token}},
    }
    response = auth_client.post(
        f"{AUTH}{path}", headers=ada.headers | {"X-Refresh-Transport": value}, **content.get(path, {})
    )
    problem = assert_problem(response, 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == ["header.X-Refresh-Transport"]


def test_logout_by_cookie_needs_no_access_token(auth_client: TestClient, ada: User, sql: Sql) -> None:
    tokens = log_in(auth_client)
    response = send(
        auth_client, "POST", "/logout", sent_cookie(tokens).value, headers={"Authorization": "Bearer x.y.z"}
    )
    assert response.status_code == 200
    assert_cleared(response)
    assert not is_logged_in(auth_client, tokens)
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).status_code == 200
    assert sql.rows("SELECT actor_id::text, outcome FROM audit_log WHERE action = 'login.ended'") == [
        {"actor_id": ada.id, "outcome": "done"}
    ]
    again = send(auth_client, "POST", "/logout", sent_cookie(tokens).value)
    assert again.status_code == 200
    assert sql.value("SELECT count(*) FROM audit_log WHERE action = 'login.ended'") == 1


def test_logout_with_token_that_another_tab_has_exchanged(auth_client: TestClient, ada: User) -> None:
    first = log_in(auth_client)
    second = send(auth_client, "POST", "/refresh", sent_cookie(first).value)
    third = send(auth_client, "POST", "/refresh", sent_cookie(second).value)
    assert send(auth_client, "POST", "/logout", sent_cookie(first).value).status_code == 200
    assert not is_logged_in(auth_client, third)


def test_logout_ends_no_login_without_its_token(auth_client: TestClient, ada: User) -> None:
    tokens = log_in(auth_client)
    forged = sent_cookie(tokens).value[:-4] + "AAAA"
    for token in (forged, "x", None):
        response = send(auth_client, "POST", "/logout", token)
        assert response.status_code == 200
        assert_cleared(response)
    assert is_logged_in(auth_client, tokens)


def test_logout_ends_logins_of_cookie_and_access_token(auth_client: TestClient, ada: User) -> None:
    tokens = log_in(auth_client)
    assert send(auth_client, "POST", "/logout", sent_cookie(tokens).value, headers=ada.headers).status_code == 200
    assert not is_logged_in(auth_client, tokens)
    assert_problem(auth_client.get(f"{AUTH}/me", headers=ada.headers), 401)


def clear_by_logout_all(client: TestClient, tokens: Response) -> Response:
    return send(client, "POST", "/logout-all", headers=bearer(tokens))


def clear_by_erasure(client: TestClient, tokens: Response) -> Response:
    return send(client, "DELETE", "/me", headers=bearer(tokens), json={"password": PASSWORD})


def clear_by_removal(client: TestClient, tokens: Response) -> Response:
    sessions = client.get(f"{AUTH}/sessions", headers=bearer(tokens)).json()["sessions"]
    current, other = sorted(sessions, key=lambda session: not session["is_current"])
    kept = send(client, "DELETE", f"/sessions/{other['id']}", headers=bearer(tokens))
    assert "Set-Cookie" not in kept.headers
    return send(client, "DELETE", f"/sessions/{current['id']}", headers=bearer(tokens))


@pytest.mark.parametrize("clear", [clear_by_logout_all, clear_by_erasure, clear_by_removal])
def test_end_of_login_clears_cookie(
    auth_client: TestClient, ada: User, clear: Callable[[TestClient, Response], Response]
) -> None:
    response = clear(auth_client, log_in(auth_client))
    assert response.status_code == 200, response.text
    assert_cleared(response)


def test_refused_erasure_keeps_cookie(auth_client: TestClient, ada: User) -> None:
    response = send(auth_client, "DELETE", "/me", headers=ada.headers, json={"password": "wrong password"})
    assert_problem(response, 400, "wrong_password")
    assert "Set-Cookie" not in response.headers
    assert "Set-Cookie" not in erase(auth_client, ada).headers


def test_password_change_keeps_the_cookie_of_its_login(auth_client: TestClient, ada: User) -> None:
    tokens, other = log_in(auth_client), log_in(auth_client)
    change = {"current_password": PASSWORD, "new_password": f"another {PASSWORD}"}
    assert send(auth_client, "PUT", "/password", headers=bearer(tokens), json=change).status_code == 200
    assert send(auth_client, "POST", "/refresh", sent_cookie(tokens).value).status_code == 200
    assert_cleared(send(auth_client, "POST", "/refresh", sent_cookie(other).value))


def test_failed_login_sets_no_cookie(auth_client: TestClient, ada: User) -> None:
    response = send(auth_client, "POST", "/login", data={"username": "ada", "password": "wrong password"})
    assert_problem(response, 401, "invalid_credentials")
    assert "Set-Cookie" not in response.headers
    assert login(auth_client, "ada").json()["refresh_token"]


def test_pages_of_other_origins_cannot_send_the_header(auth_client: TestClient) -> None:
    preflight = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "X-Refresh-Transport",
    }
    assert_problem(auth_client.options(f"{AUTH}/refresh", headers=preflight), 400, "cors_refused")
