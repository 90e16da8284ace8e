"""Errors of chat completions have the form that clients of OpenAI read."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.chat.openai_api.conftest import COMPLETIONS, HELLO, openai_error
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User
from tests.support.provider import Behaviour, Provider, answers, fails

Complete = Callable[..., Response]


def test_sessions_of_others_are_not_found(complete: Complete, others_chat: Chat) -> None:
    openai_error(complete(metadata={"session_id": others_chat.open()}), 404, "not_found")
    openai_error(complete(metadata={"session_id": str(uuid4())}), 404, "not_found")
    openai_error(complete(metadata={"session_id": "x"}), 400, "uuid_parsing", "metadata.session_id")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (fails(400, code="context_length_exceeded"), 400, "context_length_exceeded"),
        (fails(400, message="Invalid schema for function"), 400, "provider_rejected"),
        (fails(401), 502, "provider_rejected"),
        (fails(400, code="content_filter"), 400, "content_filter"),
        (fails(503), 503, "provider_error"),
        (answers(""), 502, "provider_bad_response"),
    ],
)
def test_failed_answer_has_an_error_status(
    complete: Complete, provider: Provider, failure: Behaviour, status: int, code: str, *, stream: bool
) -> None:
    provider.always(failure)
    param = "messages" if code == "context_length_exceeded" else None
    error = openai_error(complete(stream=stream), status, code, param)
    if param:
        assert error["message"].startswith("This model's maximum context length is 100000 tokens.")
    assert "Sorry" not in error["message"]


def test_context_that_no_model_holds_is_refused_without_a_call(complete: Complete, provider: Provider) -> None:
    error = openai_error(
        complete([{"role": "user", "content": "word " * 400_000}]), 400, "context_length_exceeded", "messages"
    )
    assert "Please reduce the length of the messages" in error["message"]
    assert provider.calls == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "\x00"}]}, "messages[0].content"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"n": 2}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": []}, "functions"),
        ({"stop": [1]}, "stop"),
        ({"top_logprobs": 2}, None),
    ],
)
def test_invalid_parameter_is_named(
    complete: Complete, provider: Provider, fields: dict[str, Any], param: str | None
) -> None:
    response = complete(fields.pop("messages", HELLO), **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert provider.calls == []


def test_errors_before_the_route_have_the_form_too(chat: Chat) -> None:
    client, headers = chat.client, chat.user.headers
    assert openai_error(client.post(COMPLETIONS, json={}), 401, "invalid_api_key")["type"] == "invalid_request_error"
    openai_error(
        client.post(COMPLETIONS, content=b"{", headers=headers | {"Content-Type": "application/json"}),
        400,
        "invalid_json",
    )
    openai_error(
        client.post(COMPLETIONS, content=b"x", headers=headers | {"Content-Type": "text/plain"}),
        415,
        "unsupported_media_type",
    )
    openai_error(client.get(COMPLETIONS, headers=headers), 405, "method_not_allowed")
    openai_error(client.request("BREW", "/v1/models"), 501, "not_implemented")
    openai_error(client.post(COMPLETIONS, content=b"x" * 5_000_000, headers=headers), 413, "content_too_large")
    assert "chat/completions" in openai_error(client.post("/v1/responses", json={}), 404, "not_found")["message"]
    for path in ("/v1/embeddings", "/v1/completions", "/v1/nowhere", "/v1"):
        openai_error(client.post(path, json={}), 404, "not_found")
    openai_error(
        client.post(COMPLETIONS, json={"model": "gpt-9", "messages": HELLO}, headers=headers),
        404,
        "model_not_found",
        "model",
    )


def test_key_needs_the_scope_of_this_api(chat: Chat, api_key: str, auth_client: TestClient, ada: User) -> None:
    def send(key: str, **fields: object) -> Response:
        return chat.client.post(
            COMPLETIONS, json={"messages": HELLO, **fields}, headers={"Authorization": f"Bearer {key}"}
        )

    assert send(api_key).status_code == 200
    openai_error(send(api_key, metadata={"session_id": chat.open()}), 403, "scope_required")
    native = auth_client.post(
        "/api/v1/auth/api-keys", json={"name": "x", "scopes": ["chat:read", "chat:write"]}, headers=ada.headers
    )
    openai_error(send(native.json()["key"]), 403, "scope_required")
    refused = chat.client.get("/api/v1/chat/sessions", headers={"Authorization": f"Bearer {api_key}"})
    assert refused.json()["code"] == "scope_required"


def test_used_up_quota_is_worded_as_openai_words_it(complete: Complete, sql: Sql, provider: Provider) -> None:
    assert complete().status_code == 200
    sql.do("UPDATE users SET quota_tokens_per_day = 1 WHERE username = 'ada'")
    response = complete(stream=True)
    assert openai_error(response, 429, "insufficient_quota")["type"] == "insufficient_quota"
    assert response.headers["X-Should-Retry"] == "false"
    assert int(response.headers["Retry-After"]) > 0
    assert len(provider.calls) == 1
