"""Model and sampling parameters of a request, and their validation."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app import main
from app.config import ModelSetting, Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User, assert_problem
from tests.support.provider import Provider, fails

ROUTES = ["/direct", "/direct/stream", "/sessions/{id}/messages", "/sessions/{id}/messages/stream", "/sessions"]
PARAMETERS = {
    "model": "gpt-other",
    "temperature": 0.1,
    "top_p": 0.2,
    "frequency_penalty": -0.3,
    "presence_penalty": 0.4,
    "max_tokens": 50,
}


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[TestClient]:
    allowed = [ModelSetting(name="gpt-other"), ModelSetting(name="gpt-4o", context_window=1000)]
    overrides = {"LLM_MODELS": allowed, "LLM_FALLBACK_MODEL": "gpt-fallback,gpt-last", "LLM_MAX_TOKENS": 100}
    overrides["LLM_CONTEXT_WINDOW"] = 4096
    with TestClient(main.create(settings.model_copy(update=overrides))) as client:
        yield client


@pytest.fixture
def chat(service: TestClient, sql: Sql, redis: Redis, provider: Provider, ada: User) -> Chat:
    return Chat(service, ada)


def ask(chat: Chat, route: str, **fields: Any) -> Response:  # noqa: ANN401 - of the request
    path = route.replace("{id}", chat.open()) if "{id}" in route else route
    message = "initial_message" if route == "/sessions" else "message"
    return chat.request("POST", path, json={message: "Hi", **fields})


def requested_models(provider: Provider) -> list[str]:
    return [call.model for call in provider.calls]


@pytest.mark.parametrize("route", ROUTES)
def test_model_and_parameters_reach_the_provider(chat: Chat, provider: Provider, route: str) -> None:
    response = ask(chat, route, **PARAMETERS)
    assert response.is_success
    (call,) = provider.calls
    assert {name: call.body[name] for name in PARAMETERS} == PARAMETERS


@pytest.mark.parametrize("route", ROUTES)
def test_omitted_parameters_have_their_defaults(chat: Chat, provider: Provider, route: str) -> None:
    assert ask(chat, route, top_p=0.5).is_success
    (call,) = provider.calls
    sent = {name: value for name, value in call.body.items() if name not in {"messages", "stream", "stream_options"}}
    assert sent == {"model": "gpt-primary", "temperature": 0.7, "max_tokens": 100, "top_p": 0.5}


@pytest.mark.parametrize(
    ("model", "models"),
    [
        (None, ["gpt-primary", "gpt-fallback", "gpt-last"]),
        ("gpt-primary", ["gpt-primary", "gpt-fallback", "gpt-last"]),
        ("gpt-other", ["gpt-other", "gpt-fallback", "gpt-last"]),
        ("gpt-last", ["gpt-last", "gpt-fallback"]),
    ],
)
def test_requested_model_is_tried_first_then_the_fallbacks_in_order(
    chat: Chat, provider: Provider, model: str | None, models: list[str]
) -> None:
    provider.always(fails(401))
    response = ask(chat, "/direct", **({"model": model} if model else {}))
    assert response.json()["status"] == "failed"
    assert requested_models(provider) == models


def test_parameters_of_one_question_do_not_affect_the_next(chat: Chat, provider: Provider) -> None:
    for fields in (PARAMETERS, {}):
        assert ask(chat, "/direct", **fields).is_success
    first, second = provider.calls
    assert first.model == "gpt-other"
    assert second.body.keys() == {"model", "messages", "temperature", "max_tokens"}
    assert (second.model, second.body["temperature"]) == ("gpt-primary", 0.7)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("model", "gpt-unknown", "unknown_model"),
        ("model", "", "string_too_short"),
        ("model", "x" * 201, "string_too_long"),
        ("temperature", 2.1, "less_than_equal"),
        ("temperature", -0.1, "greater_than_equal"),
        ("top_p", 1.1, "less_than_equal"),
        ("top_p", -1, "greater_than_equal"),
        ("frequency_penalty", 2.5, "less_than_equal"),
        ("frequency_penalty", -2.5, "greater_than_equal"),
        ("presence_penalty", 2.5, "less_than_equal"),
        ("presence_penalty", -2.5, "greater_than_equal"),
        ("max_tokens", 0, "greater_than_equal"),
        ("max_tokens", 101, "less_than_equal"),
        ("max_tokens", 10**18, "less_than_equal"),
        ("max_tokens", 1.5, "int_type"),
    ],
)
def test_invalid_parameters_are_refused_and_nothing_is_stored(
    chat: Chat, provider: Provider, sql: Sql, route: str, field: str, value: object, code: str
) -> None:
    problem = assert_problem(ask(chat, route, **{field: value}), 422, "validation_error")
    assert [(error["field"], error["code"]) for error in problem["errors"]] == [(f"body.{field}", code)]
    assert provider.calls == []
    assert sql.value("SELECT count(*) FROM chat_messages") == 0


def test_new_session_without_a_question_accepts_no_parameters(chat: Chat) -> None:
    assert_problem(chat.request("POST", "/sessions", json={"title": "x", "model": "gpt-other"}), 422)


@pytest.mark.parametrize(("field", "value"), PARAMETERS.items())
def test_same_idempotency_key_with_other_parameters_is_refused(chat: Chat, field: str, value: object) -> None:
    headers = {"Idempotency-Key": "k"}
    assert chat.request("POST", "/direct", json={"message": "Hi"}, headers=headers).is_success
    again = chat.request("POST", "/direct", json={"message": "Hi", field: value}, headers=headers)
    assert_problem(again, 422, "idempotency_key_reused")


def test_models_are_listed_with_context_window_and_prices(chat: Chat) -> None:
    listed = chat.request("GET", "/models").json()
    assert listed["max_tokens"] == 100
    assert [model["name"] for model in listed["models"]] == [
        "gpt-primary", "gpt-fallback", "gpt-last", "gpt-other", "gpt-4o"
    ]  # fmt: skip
    assert [model["name"] for model in listed["models"] if model["is_default"]] == ["gpt-primary"]
    assert [model["name"] for model in listed["models"] if model["is_fallback"]] == ["gpt-fallback", "gpt-last"]
    unknown, known = listed["models"][3:]
    assert (unknown["context_window"], unknown["prompt_price"], unknown["completion_price"]) == (4096, None, None)
    assert (known["context_window"], known["prompt_price"], known["completion_price"]) == (1000, "2.5", "10")
