"""Fallback model and circuit breaker: turns with a primary model that fails."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from app import main
from app.config import ModelSetting, Settings
from app.graph.ports.chat_model import Completion, ModelRequest
from app.services.llm.openai import OpenAIChatModel
from tests.chat.turns.fault_turns import FALLBACK_TEXT, MODELS
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User
from tests.support.provider import Provider, answers, fails
from tests.support.provider_faults import FAULTS

TURNS, CONCURRENCY, FAILURES = 100, 10, 5
PLAIN_BEHAVIOURS = {fault.name: fault.plain for fault in FAULTS}
PAUSE = 600.0
"""Seconds that a circuit stays open: longer than a test."""


def service_with(settings: Settings, **overrides: object) -> TestClient:
    return TestClient(main.create(settings.model_copy(update=overrides)))


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[TestClient]:
    models = [ModelSetting(name=model) for model in MODELS.values()]
    with service_with(settings, LLM_MODELS=models, LLM_BREAKER_FAILURES=FAILURES, LLM_BREAKER_PAUSE=PAUSE) as client:
        yield client


@pytest.fixture
def chat(service: TestClient, sql: Sql, redis: Redis, provider: Provider, ada: User) -> Chat:
    provider.always(answers(FALLBACK_TEXT), model="gpt-fallback")
    return Chat(service, ada)


def ask(chat: Chat, model: str | None = None) -> dict[str, Any]:
    response = chat.request("POST", "/direct", json={"message": "Hi"} | ({"model": model} if model else {}))
    assert response.status_code == 200, response.text
    return dict(response.json())


@pytest.fixture
def short_attempt_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """End attempts at models that have a fault after half a second; the fallback model has the usual time."""
    complete = OpenAIChatModel.complete

    async def complete_with_short_timeout(
        model: OpenAIChatModel, request: ModelRequest, *, max_seconds: float
    ) -> Completion:
        has_fault = request.model in MODELS.values()
        return await complete(model, request, max_seconds=min(0.5, max_seconds) if has_fault else max_seconds)

    monkeypatch.setattr(OpenAIChatModel, "complete", complete_with_short_timeout)


@pytest.mark.usefixtures("short_attempt_timeout")
@pytest.mark.parametrize(
    "fault",
    [
        "401",
        "429",
        "500",
        "connection reset before the response",
        "connection closed during the response",
        "no response",
        "one byte per 0.05 s",
        "endless headers, at full speed",
        "100 MB of text",
        "invalid JSON",
        "invalid UTF-8",
        "no choices",
        "no finish reason",
    ],
)
def test_100_turns_with_a_failing_primary_are_answered_by_the_fallback(
    chat: Chat, provider: Provider, fault: str
) -> None:
    model = MODELS[fault]
    provider.always(PLAIN_BEHAVIOURS[fault], model=model)
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        turns = list(pool.map(ask, repeat(chat), repeat(model, TURNS)))
    assert [(turn["status"], turn["response"]) for turn in turns] == [("complete", FALLBACK_TEXT)] * TURNS
    calls = [call.model for call in provider.calls]
    assert calls.count("gpt-fallback") == TURNS
    # Calls that are in flight when the circuit opens may still fail; no later ones are made.
    assert FAILURES <= calls.count(model) < FAILURES + CONCURRENCY
    assert chat.client.get("/readyz").json()["models"][model] == "open"


@pytest.mark.parametrize("fault", ["400", "text is blank", "`finish_reason` `content_filter`"])
def test_failures_caused_by_the_request_do_not_open_the_circuit(chat: Chat, provider: Provider, fault: str) -> None:
    model = MODELS[fault]
    provider.always(PLAIN_BEHAVIOURS[fault], model=model)
    for _ in range(FAILURES + 1):
        assert ask(chat, model)["response"] == FALLBACK_TEXT
    provider.always(answers("Well."), model=model)
    assert ask(chat, model)["response"] == "Well."
    assert chat.client.get("/readyz").json()["models"][model] == "closed"


@pytest.fixture
def single_failure_chat(settings: Settings, sql: Sql, redis: Redis, provider: Provider, ada: User) -> Iterator[Chat]:
    """Client of a service whose circuits open after one failure."""
    provider.always(answers(FALLBACK_TEXT), model="gpt-fallback")
    overrides = {"LLM_BREAKER_FAILURES": 1, "LLM_BREAKER_PAUSE": PAUSE, "LLM_RETRIES_PER_MODEL": 0}
    with service_with(settings, **overrides) as client:
        yield Chat(client, ada)


def end_pause(chat: Chat, model: str) -> None:
    """Set the clock of a model's circuit breaker forward."""
    chat.client.app_state["breakers"]._breakers[model]._now = lambda: time.monotonic() + PAUSE


def test_circuit_closes_when_the_model_recovers(single_failure_chat: Chat, provider: Provider) -> None:
    provider.script(fails(500), model="gpt-primary")
    provider.always(answers("Well."), model="gpt-primary")
    first, second = ask(single_failure_chat), ask(single_failure_chat)
    assert first["response"] == second["response"] == FALLBACK_TEXT
    assert [call.model for call in provider.calls] == ["gpt-primary", "gpt-fallback", "gpt-fallback"]
    assert single_failure_chat.client.get("/readyz").json()["models"]["gpt-primary"] == "open"
    end_pause(single_failure_chat, "gpt-primary")
    assert single_failure_chat.client.get("/readyz").json()["models"]["gpt-primary"] == "half_open"
    assert ask(single_failure_chat)["response"] == "Well."
    assert single_failure_chat.client.get("/readyz").json()["models"] == {
        "gpt-primary": "closed",
        "gpt-fallback": "closed",
    }


def test_one_model_is_tried_when_every_circuit_is_open(single_failure_chat: Chat, provider: Provider) -> None:
    provider.always(fails(500))
    provider.always(fails(500), model="gpt-fallback")
    assert ask(single_failure_chat)["status"] == "failed"
    calls = len(provider.calls)
    assert (calls, ask(single_failure_chat)["status"]) == (2, "failed")
    assert len(provider.calls) == calls + 1
    provider.always(answers("Well."), model="gpt-primary")
    provider.always(answers("Well."), model="gpt-fallback")
    assert ask(single_failure_chat)["response"] == "Well."
