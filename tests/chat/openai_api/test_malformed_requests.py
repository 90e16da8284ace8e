"""Malformed requests: always an error as clients of OpenAI read it, never a status of 500 or above."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.chat.openai_api.schemas import ChatCompletionRequest
from tests.chat.openai_api.conftest import COMPLETIONS
from tests.fixtures.services import Chat
from tests.support.provider import Provider

Complete = Callable[..., Response]
PARTS = 10
FIELDS = [
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "messages", "metadata", "modalities", "model", "n", "parallel_tool_calls", "presence_penalty",
    "reasoning_effort", "response_format", "seed", "stop", "stream", "stream_options", "temperature", "tool_choice",
    "tools", "top_logprobs", "top_p", "web_search_options",
]  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\x00", "\ud800", "user", "text", "function", "tool", "json_schema", "x" * 5000])
)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "image_url", "url", "name", "function", "tool_calls", "id"]
            )
            | st.text(max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer", "robot"]) | json_values},
        optional={
            "content": json_values,
            "name": json_values,
            "tool_calls": json_values,
            "tool_call_id": json_values,
        },
    ),
    max_size=3,
)
bodies = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, json_values) | {"messages": messages | json_values})


def post(client: TestClient, chat: Chat, body: bytes) -> Any:  # noqa: ANN401 - the response of another client
    headers = {**chat.user.headers, "Content-Type": "application/json"}
    return client.post(COMPLETIONS, content=body, headers=headers)


def check(response: Any) -> None:  # noqa: ANN401 - as above
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        document = response.json()
        assert set(document["error"]) == {"message", "type", "param", "code"}
        assert isinstance(document["error"]["message"], str)
        assert document["error"]["type"] == "invalid_request_error"
        assert document["status"] == response.status_code


# Several tests, because one would exceed the time limit of a test on a busy machine.
@pytest.mark.parametrize("part", range(PARTS))
def test_1000_malformed_bodies_get_client_errors(chat: Chat, provider: Provider, part: int) -> None:
    statuses = []

    @seed(part)
    @settings(
        max_examples=1000 // PARTS, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None
    )
    @given(bodies | json_values)
    def request(body: object) -> None:
        response = post(chat.client, chat, json.dumps(body).encode())
        check(response)
        statuses.append(response.status_code)

    request()
    assert len(statuses) >= 1000 // PARTS
    assert statuses.count(400) > len(statuses) * 0.8


IMAGE = "data:image/png;base64,iVBORw0KGgo="
WHOLE: dict[str, Any] = {
    "model": "gpt-primary",
    "messages": [
        {"role": "system", "content": "Be brief.", "name": "ada"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "A cat."},
    ],
    "stream": False,
    "stream_options": {"include_usage": True},
    "temperature": 0.5,
    "top_p": 0.5,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "max_tokens": 10,
    "max_completion_tokens": 10,
    "n": 1,
    "stop": ["END"],
    "seed": 1,
    "logprobs": True,
    "top_logprobs": 1,
    "logit_bias": {"1": 1},
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "Looks.",
                "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
                "strict": True,
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "parallel_tool_calls": True,
    "response_format": {"type": "json_schema", "json_schema": {"name": "cat", "schema": {"type": "object"}}},
    "reasoning_effort": "low",
    "verbosity": "low",
    "metadata": {"session_id": "0199c2f0-7c5e-7a3b-9b1e-3f5a6c7d8e90"},
    "modalities": ["text"],
}
"""A request with every field that has a meaning."""
VALUES = [
    "null", "true", "0", "-1", "1.5", "1e400", "-Infinity", "NaN", "1e-400", "9" * 400, "9" * 5000,
    "9223372036854775808", '""', '" "', '"\\u0000"', '"\\ud800"', '"\\ufeff"', f'"{"x" * 70_000}"',
    '"data:image/png;base64,"', '"data:image/png,x"', '"data:text/html;base64,eA=="', '"data:image/png;base64,!!"',
    '"file:///etc/passwd"', "[]", "[[]]", "[null]", "[{}]", "{}",
    '{"": null}', '{"type": {}}', '{"type": []}', '{"$ref": "#"}',
    '{"a": 1, "a": {"b": 2}}', "[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300, "[" + "0," * 5000 + "0]",
]  # fmt: skip
"""Raw JSON, because no encoder writes some of these values."""


def places(value: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the places of all values within a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(found for key, each in inner for found in places(each, (*place, key)))]


def replaced(document: Any, place: tuple[str | int, ...], value: str) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the JSON of a document with other raw JSON at a place."""
    mark = "the place of the value"
    if not place:
        return value.encode()
    changed = parent = json.loads(json.dumps(document))
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = mark
    return json.dumps(changed).replace(f'"{mark}"', value).encode()


@pytest.mark.parametrize("part", range(PARTS))
def test_wrong_values_in_every_place_get_client_errors(chat: Chat, provider: Provider, part: int) -> None:
    cases = [(place, value) for place in places(WHOLE) for value in VALUES][part::PARTS]
    assert len(cases) > 150
    # Without the session, which does not exist, nothing else is wrong.
    stateless = {name: each for name, each in WHOLE.items() if name != "metadata"}
    for place, value in cases:
        document = WHOLE if "metadata" in place else stateless
        check(post(chat.client, chat, replaced(document, place, value)))


HELLO_BODY = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    ],
    ids=["recursive", "endless"],
)
def test_recursive_schemas_of_tools_are_passed_on(chat: Chat, provider: Provider, parameters: dict[str, Any]) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": parameters}}
    body = json.dumps(json.loads(HELLO_BODY) | {"tools": [tool, tool]}).encode()
    response = post(chat.client, chat, body)
    assert response.status_code == 200
    assert provider.calls[0].body["tools"][0]["function"]["parameters"] == parameters


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ("application/JSON", 200),
        ("application/json; charset=utf-16", 200),
        ("application/vnd.openai+json", 200),
        ("", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data", 415),
        ("multipart/form-data; boundary=\u00ff", 415),
        ("application/jsonx", 415),
        (";", 415),
    ],
)
def test_content_types(chat: Chat, content_type: str, status: int) -> None:
    headers = {**chat.user.headers, "Content-Type": content_type}
    response = chat.client.post(
        COMPLETIONS,
        content=HELLO_BODY,
        headers={name.encode(): value.encode("latin-1") for name, value in headers.items()},
    )
    check(response)
    assert response.status_code == status


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HELLO_BODY.replace(b"Hi", b"\xff\xfe"), id="invalid UTF-8"),
        pytest.param(HELLO_BODY.replace(b"Hi", b"\xed\xa0\x80"), id="surrogate in UTF-8"),
        pytest.param(HELLO_BODY.replace(b"Hi", b"\xc0\x80"), id="overlong UTF-8"),
        pytest.param(HELLO_BODY.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(HELLO_BODY.decode().encode("utf-32"), id="UTF-32"),
        pytest.param(b"\xef\xbb\xbf" + HELLO_BODY, id="byte order mark"),
        pytest.param(HELLO_BODY + b"\0", id="NUL after the end"),
        pytest.param(HELLO_BODY + HELLO_BODY, id="two documents"),
        pytest.param(HELLO_BODY.replace(b'"', b"'"), id="single quotes"),
        pytest.param(HELLO_BODY[:-1] + b",}", id="trailing comma"),
        pytest.param(b"/* */" + HELLO_BODY, id="comment"),
        pytest.param(b"\x1f\x8b\x08" + HELLO_BODY, id="gzip"),
    ],
)
@pytest.mark.parametrize("encoding", ["", "gzip", "x" * 5000])
def test_other_encodings_get_client_errors(chat: Chat, body: bytes, encoding: str) -> None:
    headers = {**chat.user.headers, "Content-Type": "application/json", "Content-Encoding": encoding}
    check(chat.client.post(COMPLETIONS, content=body, headers=headers))


def test_the_last_of_duplicate_keys_counts(chat: Chat, provider: Provider) -> None:
    body = HELLO_BODY[:-1] + b', "temperature": 99, "temperature": 0.5}'
    assert post(chat.client, chat, body).status_code == 200
    assert provider.calls[0].body["temperature"] == 0.5


@pytest.mark.parametrize(
    "path",
    [
        "/v1", "/v1/", "/v1/chat", "/v1/chat/", "/v1/chat/completions/", "/v1//chat/completions", "/v1/embeddings",
        "/v1/chat/completions/1", "/v1/completions", "/v1/responses", "/v1/responses/resp_1", "/v1/models/",
        "/v1/models/%00", "/v1/models/..%2f..%2fetc", "/v1/models/%ff", "/v1/models/a/b/c", "/v1/models/" + "x" * 3000,
        "/v1/models?limit=x&limit=%00", "/v1/models;a=b", "/v1/chat/completions?model=%ff&stream=1&stream=2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_every_path_and_method_has_the_form_of_the_api(chat: Chat, path: str, method: str) -> None:
    headers = {**chat.user.headers, "Content-Type": "application/json"}
    response = chat.client.request(method, path, content=HELLO_BODY, headers=headers)
    if method == "HEAD" or response.status_code < 400:
        assert response.status_code < 500
    else:
        check(response)


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer \u00ff", "Bearer a b", "cbk_x" * 2000]
)
@pytest.mark.parametrize("path", [COMPLETIONS, "/v1/models", "/v1/models/gpt-primary"])
def test_wrong_credentials_get_the_same_error(chat: Chat, authorization: str, path: str) -> None:
    headers = {b"Authorization": authorization.encode("latin-1"), b"Content-Type": b"application/json"}
    method = "POST" if path == COMPLETIONS else "GET"
    response = chat.client.request(method, path, content=HELLO_BODY, headers=headers)
    check(response)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "name", ["X-Session-ID", "Idempotency-Key", "X-Request-ID", "Last-Event-ID", "Accept", "Expect"]
)
@pytest.mark.parametrize("value", ["", " ", "\u00ff", "0", "x" * 300, "\x7f", '"', ",,,", "../..", "9" * 5000])
def test_headers_with_any_value_get_client_errors(chat: Chat, name: str, value: str) -> None:
    headers = {**chat.user.headers, "Content-Type": "application/json", name: value}
    raw = [(key.encode(), each.encode("latin-1")) for key, each in headers.items()]
    for sent in (raw, [*raw, (name.encode(), b"second")]):
        check(chat.client.post(COMPLETIONS, content=HELLO_BODY, headers=sent))


def test_bytes_that_are_no_json_get_client_errors(chat: Chat) -> None:
    for body in (
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"NaN",
        b'"x"',
    ):
        response = post(chat.client, chat, body)
        check(response)
        assert response.status_code >= 400


MANY_ERRORS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [{"role": "user", "name": "", "tool_calls": [{}, {}]}] * 5000},
    "tools": {"tools": [{}] * 128},
    "tool calls": {"messages": [{"role": "assistant", "tool_calls": [{}] * 128}]},
    "logit bias": {"logit_bias": {f"x{number}": 1000 for number in range(30_000)}},
    "values of logit bias": {"logit_bias": {str(number): 1000 for number in range(1000)}},
    "valid logit bias": {"logit_bias": {str(number): 1 for number in range(30_000)}},
}


@pytest.mark.parametrize("fields", MANY_ERRORS.values(), ids=MANY_ERRORS.keys())
def test_validation_stops_at_the_first_of_many_errors(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        ChatCompletionRequest.model_validate({"messages": [{"role": "user", "content": "Hi"}], **fields})
    assert refused.value.error_count() <= 5


def test_a_body_is_validated_once(complete: Complete, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: Counter[str] = Counter()

    def check_and_count(text: str) -> str:
        checked[text] += 1
        return text

    monkeypatch.setattr("app.chat.openai_api.fields.check_text", check_and_count)
    function = {"name": "look", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}
    assert complete(tools=[{"type": "function", "function": function}]).status_code == 200
    assert checked["place"] == 1
