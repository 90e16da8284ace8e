"""Requests to the models of several providers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.core.exceptions import StartupError
from app.graph.ports.chat_model import ModelError, StreamTimeouts
from app.services.llm.model_router import ModelRouter
from app.services.llm.response_cache import ResponseCache
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from tests.services.llm.openai_attempts import QUESTION, SETTINGS
from tests.support.fakes import model_request
from tests.support.provider import Provider, answers, fails, running_provider
from tests.support.waiting import LONGEST_WAIT

TIMEOUTS = StreamTimeouts(LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT)


@pytest.fixture(scope="module")
def other_server() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def azure(other_server: Provider) -> Provider:
    other_server.reset()
    return other_server


@pytest.fixture
def settings(provider: Provider, azure: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.setenv("AZURE_KEY", " azure-canary\n")
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    (tmp_path / "key").write_text("file-canary\n")
    providers: list[dict[str, Any]] = [
        {
            "name": "azure",
            "base_url": f"{azure.base_url}/?api-version=2026-01-01",
            "api_key_env": "AZURE_KEY",
            "api_key_header": "api-key",
            "headers": {"X-Team": "chat", "user-agent": "chat/1"},
        },
        {"name": "house", "base_url": azure.base_url, "api_key_file": str(tmp_path / "key")},
    ]
    models = [
        {"name": "eu", "provider": "azure", "provider_model": "deployment-7", "max_tokens_field": "max_tokens"},
        {"name": "m", "provider": "house"},
    ]
    return Settings.model_validate(
        SETTINGS
        | {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "default-canary", "LLM_MODEL": "primary"}
        | {"LLM_FALLBACK_MODEL": "", "LLM_PROVIDERS": providers, "LLM_MODELS": models}
    )


@pytest.fixture
async def router(settings: Settings) -> AsyncIterator[ModelRouter]:
    router = ModelRouter.from_settings(settings)
    yield router
    await router.close()


async def ask(router: ModelRouter, model: str) -> str:
    return (await router.complete(model_request(QUESTION, model=model), max_seconds=LONGEST_WAIT)).text


async def test_each_model_is_asked_at_its_provider(router: ModelRouter, provider: Provider, azure: Provider) -> None:
    provider.always(answers("default"))
    azure.always(answers("other"))
    assert [await ask(router, model) for model in ("primary", "eu", "m")] == ["default", "other", "other"]
    completion = await router.stream(model_request(QUESTION, model="eu"), lambda _: None, timeouts=TIMEOUTS)
    assert completion.text == "other"
    assert [call.model for call in (*provider.calls, *azure.calls)] == ["primary", "deployment-7", "m", "deployment-7"]


async def test_keys_and_headers_reach_their_provider_only(
    router: ModelRouter, provider: Provider, azure: Provider
) -> None:
    for model in ("primary", "eu", "m"):
        await ask(router, model)
    default, eu, house = (call.headers for call in (*provider.calls, *azure.calls))
    assert default["authorization"] == "Bearer default-canary"
    assert (eu["api-key"], eu["x-team"], "authorization" in eu) == ("azure-canary", "chat", False)
    assert eu["user-agent"] == "chat/1"
    assert house["authorization"] == "Bearer file-canary"
    assert [headers.get("openai-organization") for headers in (default, eu, house)] == ["org", None, None]
    assert [sum("canary" in str(headers[name]) for name in headers) for headers in (default, eu, house)] == [1, 1, 1]
    assert azure.calls[0].path == "/v1/chat/completions?api-version=2026-01-01"


async def test_refused_parameters_are_remembered_by_provider_and_model(
    router: ModelRouter, provider: Provider, azure: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    azure.script(fails(400, message="Unsupported parameter: 'max_tokens'", code="unsupported_parameter"))
    provider.always(answers())
    with pytest.raises(ModelError):  # no token limit was sent
        await ask(router, "eu")
    azure.script(fails(400, message="Unsupported parameter: 'stream_options'", code="unsupported_parameter"))
    for model in ("eu", "m", "primary"):
        await router.stream(model_request(QUESTION, model=model), lambda _: None, timeouts=TIMEOUTS)
    assert router.parameter_changes == {"eu": {"stream_options": None}}
    assert ["stream_options" in call.body for call in azure.calls] == [False, True, False, True]
    (record,) = [record for record in caplog.records if "does not support" in record.message]
    assert (record.__dict__["model"], record.__dict__["provider"]) == ("deployment-7", "azure")


async def test_failures_are_logged_with_the_provider_and_without_secrets(
    router: ModelRouter, azure: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    azure.always(fails(401, message="Wrong key azure-canary"))
    with pytest.raises(ModelError):
        await ask(router, "eu")
    assert [record.__dict__["provider"] for record in caplog.records] == ["azure"]
    assert "canary" not in "".join(str(record.__dict__) for record in caplog.records)


async def test_providers_of_the_models(router: ModelRouter) -> None:
    assert router.providers == {"primary": "default", "eu": "azure", "m": "house"}


def test_secrets_are_not_shown(settings: Settings) -> None:
    assert "canary" not in repr(settings) + repr(settings.providers()) + str(settings.LLM_PROVIDERS)


def test_a_model_without_provider_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    changes = {"LLM_PROVIDERS": [{"name": "a", "base_url": "http://h/v1"}]}
    models = {"LLM_MODELS": [{"name": "m", "provider": "default"}]}
    with pytest.raises(StartupError, match="LLM_MODELS: m: the provider default is not set"):
        ModelRouter.from_settings(Settings.model_validate(SETTINGS | changes | models))


@pytest.mark.parametrize(
    "change",
    [
        {"provider_model": "other"},
        {"reasoning_effort": "high"},
        {"extra_body": {"top_k": 1}},
        {"system_role": "user"},
        {"temperature": False},
        {"provider": "house"},
    ],
)
async def test_cache_distinguishes_providers_and_profiles(
    settings: Settings, breaker: RedisCircuitBreaker, change: dict[str, Any]
) -> None:
    async def key(model: dict[str, Any]) -> str:
        fixed = settings.model_dump(include={"OPENAI_BASE_URL", "LLM_MODEL", "LLM_FALLBACK_MODEL"})
        providers = {"LLM_PROVIDERS": [{"name": name, "base_url": "http://h/v1"} for name in ("azure", "house")]}
        made = Settings.model_validate(SETTINGS | fixed | providers | {"LLM_MODELS": [model]})
        router = ModelRouter.from_settings(made)
        await router.close()
        cache = ResponseCache(breaker, seconds=60, scope="user", fingerprint=router.fingerprint)
        return cache.key(model_request(QUESTION, model="eu")).rpartition(":")[2]

    same = {"name": "eu", "provider": "azure"}
    assert await key(same) == await key(same | {"display_name": "Europe", "prompt_price": 1, "completion_price": 2})
    assert await key(same) != await key(same | change)
