"""Models of two providers behind one service: fallback, ledger, prices, list of models and their state."""

import json
from collections.abc import Iterator
from decimal import Decimal

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import main
from app.config import ModelSetting, ProviderSetting, Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User
from tests.support.provider import Provider, answers, fails, running_provider


@pytest.fixture(scope="module")
def other_server() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def other(other_server: Provider) -> Provider:
    other_server.reset()
    return other_server


@pytest.fixture(scope="module")
def service(settings: Settings, other_server: Provider) -> Iterator[TestClient]:
    changes = {
        "LLM_PROVIDERS": [ProviderSetting(name="house", base_url=other_server.base_url)],
        "LLM_MODELS": [
            ModelSetting(
                name="gpt-fallback",
                provider="house",
                provider_model="qwen",
                display_name="Qwen",
                description="Runs here.",
                capabilities=("tools", "reasoning"),
                context_window=1000,
                max_output_tokens=70,
                prompt_price=Decimal(1),
                completion_price=Decimal(2),
                temperature=0.3,
                system_role="user",
                extra_body={"top_k": 5},
            )
        ],
        "LLM_RETRIES_PER_MODEL": 0,
    }
    with TestClient(main.create(settings.model_copy(update=changes))) as client:
        yield client


@pytest.fixture
def chat(service: TestClient, sql: Sql, redis: Redis, provider: Provider, other: Provider, ada: User) -> Chat:
    provider.always(fails(503))
    other.always(answers("From here.", usage=(1_000_000, 500_000)))
    return Chat(service, ada)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_fallback_crosses_providers(
    chat: Chat, provider: Provider, other: Provider, sql: Sql, *, is_streamed: bool
) -> None:
    path = f"/sessions/{chat.open()}/messages"
    if is_streamed:
        response = chat.request("POST", f"{path}/stream", json={"message": "Hi"})
        message = json.loads(response.text.partition("event: message.completed\ndata: ")[2].partition("\n")[0])[
            "message"
        ]
    else:
        message = chat.request("POST", path, json={"message": "Hi"}).json()["ai_response"]
    assert message["content"] == "From here."
    metadata = message["metadata"]
    assert (metadata["fallback_model"], metadata["model_used"], metadata["cost_usd"]) == (True, "qwen", "2.000000000")
    rows = sql.rows("SELECT model_requested, provider, status, cost_usd FROM llm_calls ORDER BY attempt")
    assert [tuple(row.values()) for row in rows] == [
        ("gpt-primary", "default", "error", 0),
        ("gpt-fallback", "house", "ok", 2),
    ]
    (first,), (second,) = provider.calls, other.calls
    assert (first.model, first.body["temperature"], "top_k" in first.body) == ("gpt-primary", 0.7, False)
    sent = {name: second.body[name] for name in ("model", "temperature", "max_tokens", "top_k")}
    assert sent == {"model": "qwen", "temperature": 0.3, "max_tokens": 70, "top_k": 5}
    assert [entry["role"] for entry in second.messages] == ["user"]
    assert "authorization" in first.headers
    assert "sk-test" not in json.dumps(second.headers)


def test_temperature_of_the_request_takes_precedence(chat: Chat, other: Provider) -> None:
    body = {"message": "Hi", "model": "gpt-fallback", "temperature": 0.9, "max_tokens": 100}
    assert chat.request("POST", "/direct", json=body).is_success
    (call,) = other.calls
    assert (call.body["temperature"], call.body["max_tokens"]) == (0.9, 70)


def test_list_of_models_names_their_providers(chat: Chat) -> None:
    primary, fallback = chat.request("GET", "/models").json()["models"]
    assert (primary["provider"], primary["display_name"], primary["description"]) == ("default", "gpt-primary", None)
    assert primary["capabilities"] == []
    assert (fallback["provider"], fallback["display_name"], fallback["description"]) == ("house", "Qwen", "Runs here.")
    assert (fallback["capabilities"], fallback["max_output_tokens"]) == (["tools", "reasoning"], 70)
