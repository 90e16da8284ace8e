"""Malformed input gets a 4xx problem document that contains none of it."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.fixtures.services import AUTH, Chat, assert_problem
from tests.support.provider import Provider

CANARY = "canary7f3a"
JSON = {"Content-Type": "application/json"}

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no json": CANARY.encode(),
    "half json": b'{"message": "%s' % CANARY.encode(),
    "broken utf-8": b'{"message": "%s \xff\xfe"}' % CANARY.encode(),
    "a list": b'["%s"]' % CANARY.encode(),
    "a text": b'"%s"' % CANARY.encode(),
    "null": b"null",
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"message":' * 50_000 + b"1" + b"}" * 50_000,
    "deep context": b'{"message": "Hi", "context": {"a": %s}}' % (b"[" * 500 + b"]" * 500),
    "very deep context": b'{"message": "Hi", "context": {"a": %s}}' % (b"[" * 50_000 + b"]" * 50_000),
    "nul": json.dumps({"message": f"{CANARY}\x00"}).encode(),
    "lone surrogate": b'{"message": "%s \\ud800"}' % CANARY.encode(),
    "lone surrogate as a key": b'{"message": "Hi", "%s\\ud800": 1}' % CANARY.encode(),
    "blank": b'{"message": " \\n\\t "}',
    "empty": b'{"message": ""}',
    "number": b'{"message": 12345678}',
    "nan": b'{"message": NaN}',
    "infinity": b'{"message": -Infinity}',
    "huge number": b'{"message": 1e400}',
    "endless number": b'{"message": ' + b"9" * 10_000 + b"}",
    "nan in the context": b'{"message": "Hi", "context": {"a": NaN}}',
    "infinity in the context": b'{"message": "Hi", "context": {"a": [1e400]}}',
    "endless number in the context": b'{"message": "Hi", "context": {"a": ' + b"9" * 5000 + b"}}",
    "nul in the context": json.dumps({"message": "Hi", "context": {"a": f"{CANARY}\x00"}}).encode(),
    "nul in a context key": json.dumps({"message": "Hi", "context": {f"{CANARY}\x00": 1}}).encode(),
    "surrogate in the context": b'{"message": "Hi", "context": {"a": "%s\\udfff"}}' % CANARY.encode(),
    "context is a list": b'{"message": "Hi", "context": []}',
    "context is a text": b'{"message": "Hi", "context": "%s"}' % CANARY.encode(),
    "context too large": json.dumps({"message": "Hi", "context": {"a": CANARY * 1000}}).encode(),
    "unknown tone": b'{"message": "Hi", "context": {"tone": "%s"}}' % CANARY.encode(),
    "tone is a number": b'{"message": "Hi", "context": {"tone": 1}}',
    "too long": json.dumps({"message": CANARY * 4000}).encode(),
    "unknown field": json.dumps({"message": "Hi", "more": CANARY}).encode(),
    "field of a longer name than is shown": json.dumps({"message": "Hi", "x" * 10_000: 1}).encode(),
    "role": b'{"message": "Hi", "role": "system"}',
    "model": b'{"message": "Hi", "messages": [{"role": "system", "content": "%s"}]}' % CANARY.encode(),
    "1 MiB and a byte": b" " * 1_048_577,
    "2 MB": json.dumps({"message": CANARY * 200_000}).encode(),
}


def assert_refused(response: Response) -> dict[str, Any]:
    assert 400 <= response.status_code < 500, response.text[:500]
    problem = assert_problem(response, response.status_code)
    assert CANARY not in response.text
    assert len(response.content) < 4096
    return problem


def parameters(names: dict[str, bytes]) -> list[Any]:
    return [pytest.param(body, id=name) for name, body in names.items()]


@pytest.mark.parametrize("body", parameters(BODIES))
@pytest.mark.parametrize("path", ["/direct", "/sessions/{id}/messages"])
def test_malformed_question_reaches_no_model(chat: Chat, provider: Provider, path: str, body: bytes) -> None:
    session = chat.open()
    assert_refused(chat.request("POST", path.format(id=session), content=body, headers=JSON))
    assert provider.calls == []
    assert chat.request("GET", f"/sessions/{session}").json()["messages"] == []


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(b'"title": "%s\\u0000"' % CANARY.encode(), id="nul in the title"),
        pytest.param(b'"title": "%s\\ud800"' % CANARY.encode(), id="surrogate in the title"),
        pytest.param(b'"title": " "', id="blank title"),
        pytest.param(b'"title": "%s"' % (CANARY.encode() * 30), id="long title"),
        pytest.param(b'"title": {"%s": 1}' % CANARY.encode(), id="title is an object"),
        pytest.param(b'"context": {"a": NaN}', id="nan in the context"),
        pytest.param(b'"initial_message": "\\u0000"', id="nul in the message"),
        pytest.param(b'"user_id": 1', id="somebody else's"),
        pytest.param(b'"session_id": "%s"' % CANARY.encode(), id="an id of one's own"),
    ],
)
def test_malformed_session_is_refused(chat: Chat, field: bytes) -> None:
    assert_refused(chat.request("POST", "/sessions", content=b"{" + field + b"}", headers=JSON))
    assert chat.request("GET", "/sessions").json()["pagination"]["total"] == 0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"email": "a\\ud800@example.com", "username": "ada", "password": "long enough"}', id="email"),
        pytest.param(b'{"email": "a@example.com", "username": "ad\\ud800a", "password": "long enough"}', id="username"),
        pytest.param(
            b'{"email": "a@example.com", "username": "ada", "password": "long \\ud800 enough"}', id="password"
        ),
        pytest.param(
            b'{"email": "a@example.com", "username": "ada", "password": "long enough", "full_name": "\\ud800"}',
            id="full name",
        ),
        pytest.param(b'{"email": "%s", "username": "ada", "password": "long enough"}' % CANARY.encode(), id="no mail"),
        pytest.param(b'{"email": "a@example.com", "username": "ada", "password": "%s"}' % b"s3cret", id="short"),
        pytest.param(b'{"email": 1e400, "username": NaN, "password": ' + b"9" * 5000 + b"}", id="numbers"),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_malformed_registration_is_refused(auth_client: TestClient, body: bytes) -> None:
    response = auth_client.post(f"{AUTH}/register", content=body, headers=JSON)
    assert_refused(response)
    assert "s3cret" not in response.text
    assert "long enough" not in response.text


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", "x", ""],
)
def test_body_requires_json_content_type(chat: Chat, content_type: str) -> None:
    body = json.dumps({"message": CANARY}).encode()
    assert_refused(chat.request("POST", "/direct", content=body, headers={"Content-Type": content_type}))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b'{"username": "canary7f3a", "password": "canary7f3a"}'),
        ("multipart/form-data", b"--canary7f3a"),
        ("multipart/form-data; boundary=canary7f3a", b"--canary7f3a\r\nContent-Disposition: canary7f3a\r\n\r\nx"),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"a" * 100_000),
        ("application/x-www-form-urlencoded", b"username=canary7f3a&password=%00"),
        ("application/x-www-form-urlencoded", b"username=%ED%A0%80&password=canary7f3a"),
        ("application/x-www-form-urlencoded", b"username=\xff\xfe&password=\xff"),
        ("application/x-www-form-urlencoded", b"username=a&password=" + b"canary7f3a" * 200_000),
        ("application/x-www-form-urlencoded", b"&".join(b"canary7f3a%d=1" % number for number in range(5000))),
        ("application/x-www-form-urlencoded", b"=" * 10_000),
    ],
    ids=range(10),
)
def test_malformed_login_form_is_refused(auth_client: TestClient, content_type: str, body: bytes) -> None:
    assert_refused(auth_client.post(f"{AUTH}/login", content=body, headers={"Content-Type": content_type}))


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=10001",
        f"page={10**18}",
        f"page={'9' * 5000}",
        "page=1e3",
        "page=nan",
        f"page={CANARY}",
        "page=",
        "size=0",
        "size=101",
        f"size={10**18}",
        f"search={CANARY}%00",
        f"search={CANARY * 100}",
    ],
    ids=lambda query: str(query)[:20],
)
def test_query_parameters_are_bounded(chat: Chat, query: str) -> None:
    assert_refused(chat.request("GET", f"/sessions?{query}"))


@pytest.mark.parametrize("query", ["search=%ED%A0%80", "search=%FF", "page=1&page=2", "search=" + "%25" * 200])
def test_unusual_queries_are_answered(chat: Chat, query: str) -> None:
    assert chat.request("GET", f"/sessions?{query}").status_code == 200


@pytest.mark.parametrize(
    "session", [CANARY, "1", "%00", "0" * 32 + "x", "..%2f..%2fetc", "%ED%A0%80", f"{CANARY * 500}", "null"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_malformed_ids_are_refused(chat: Chat, method: str, session: str) -> None:
    assert_refused(chat.request(method, f"/sessions/{session}"))


@pytest.mark.parametrize("limit", ["0", "201", "-1", str(10**18), CANARY])
def test_message_limits_are_bounded(chat: Chat, limit: str) -> None:
    assert_refused(chat.request("GET", f"/sessions/{chat.open()}?message_limit={limit}"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", f"/{CANARY}", 404), ("PUT", "/sessions", 405), ("GET", "/direct", 405)],
)
def test_unknown_routes_and_methods_get_problems(chat: Chat, method: str, path: str, status: int) -> None:
    assert assert_refused(chat.request(method, path))["status"] == status


def test_chunked_body_over_limit_is_refused(chat: Chat, provider: Provider) -> None:
    sent = 0

    def endless() -> Any:  # noqa: ANN401 - a generator of bytes
        nonlocal sent
        while sent < 50_000_000:
            sent += 65_536
            yield b" " * 65_536

    problem = assert_refused(chat.request("POST", "/direct", content=endless(), headers=JSON))
    assert problem["status"] == 413
    assert provider.calls == []


@pytest.mark.parametrize("offered", [CANARY, "x", "a" * 65, "a b c d e f g h", 'inject"quote', "äöü-äöü-äöü"])
def test_only_valid_request_ids_are_accepted(chat_client: TestClient, offered: str) -> None:
    response = chat_client.get("/livez", headers=[(b"X-Request-ID", offered.encode())])
    assert response.status_code == 200
    assert (response.headers["X-Request-ID"] == offered) == (offered == CANARY)


def test_unexpected_exception_is_500_problem_without_details(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(CANARY)

    monkeypatch.setattr("app.database.repositories.chat.session_list.read", fail)
    response = chat.request("GET", "/sessions")
    problem = assert_problem(response, 500, "internal_error")
    assert CANARY not in response.text
    assert CANARY in caplog.text
    assert problem["request_id"]


def test_number_of_reported_field_errors_is_bounded(chat: Chat) -> None:
    body = {"message": "Hi"} | {f"field{number}": 1 for number in range(5000)}
    problem = assert_problem(chat.request("POST", "/direct", json=body), 422)
    assert len(problem["errors"]) <= 20
