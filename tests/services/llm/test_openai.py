"""The client of OpenAI's API: requests, answers, settings and logs."""

import asyncio
import json

import pytest

from app.config import Settings
from app.core.exceptions import StartupError
from app.graph.ports.chat_model import ModelError, ModelTokenCounts, Sampling
from app.services.llm.model_router import ModelRouter
from app.services.llm.openai import OpenAIChatModel
from tests.services.llm.openai_attempts import QUESTION, SETTINGS, open_model
from tests.support.fakes import model_request
from tests.support.provider import Provider, answers, fails, redirects, sends, stalls
from tests.support.waiting import LONGEST_WAIT


async def test_request_and_answer_are_translated(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(answers("Good day. 🌍", usage=(7, 2), model="gpt-4-0613"))
    parameters = Sampling(max_tokens=50, temperature=0.5)
    completion = await model.complete(
        model_request(QUESTION, model="gpt-4", parameters=parameters), max_seconds=LONGEST_WAIT
    )
    assert (completion.text, completion.model, completion.finish_reason) == ("Good day. 🌍", "gpt-4-0613", "stop")
    assert completion.token_counts == ModelTokenCounts(7, 2)
    (call,) = provider.calls
    assert call.body == {"model": "gpt-4", "messages": QUESTION, "max_tokens": 50, "temperature": 0.5}
    assert call.headers["authorization"] == "Bearer sk-canary"


async def test_tokens_are_estimated_where_the_provider_reports_none(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(answers("x" * 40, usage=None))
    completion = await model.complete(model_request([{"role": "user", "content": "y" * 80}]), max_seconds=LONGEST_WAIT)
    assert completion.token_counts == ModelTokenCounts(20, 10, is_estimated=True)


@pytest.mark.parametrize(
    "usage",
    [{}, {"total_tokens": 12}, {"prompt_tokens": None, "completion_tokens": None}, "12", []]
    + [{"prompt_tokens": count, "completion_tokens": 2} for count in (-1, 0, 10_000_001, 10**18, 1.5, "x")]
    + [{"prompt_tokens": 2, "completion_tokens": count} for count in (-1, 0, 10**18)],
    ids=repr,
)
async def test_an_invalid_token_count_does_not_invalidate_the_answer(
    provider: Provider, model: OpenAIChatModel, usage: object
) -> None:
    choices = [{"message": {"content": "Hi."}, "finish_reason": "stop"}]
    provider.script(sends(json.dumps({"model": "m", "choices": choices, "usage": usage}).encode()))
    completion = await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert (completion.text, completion.token_counts.is_estimated) == ("Hi.", True)


async def test_a_truncated_answer_has_its_finish_reason(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(answers("Once upon", finish_reason="length"))
    assert (await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)).finish_reason == "length"


async def test_characters_that_cannot_be_stored_are_removed(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(answers("a\x00b\ud800", model="m\x00\udfff" + "x" * 300))
    completion = await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert (completion.text, completion.is_repaired) == ("ab?", True)
    assert completion.model == "m?" + "x" * 198


async def test_a_redirect_is_not_followed(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(redirects("/v1/chat/completions"))
    with pytest.raises(ModelError, match="provider_rejected"):
        await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    assert len(provider.calls) == 1


async def test_openai_receives_max_completion_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    model = open_model(Settings.model_validate(SETTINGS | {"OPENAI_API_KEY": "sk-canary"}))
    body = model.profile("primary").body(model_request(QUESTION, parameters=Sampling(max_tokens=50, top_p=0.5)))
    assert body == {"model": "primary", "messages": QUESTION, "max_completion_tokens": 50, "top_p": 0.5}
    await model.close()


async def test_a_cancelled_attempt_closes_the_connection(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(stalls())
    attempt = asyncio.ensure_future(model.complete(model_request(QUESTION), max_seconds=30))
    await asyncio.to_thread(provider.wait_for_calls, 1)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    (call,) = provider.calls
    await asyncio.to_thread(provider.wait_until, lambda: call.abandoned is not None)


async def test_neither_the_key_nor_provider_messages_are_logged_or_raised(
    provider: Provider, model: OpenAIChatModel, caplog: pytest.LogCaptureFixture
) -> None:
    provider.script(fails(401, message="Incorrect API key provided: sk-canary, prompt Grüße"))
    with pytest.raises(ModelError) as failure:
        await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    output = caplog.text + str(failure.value) + "".join(str(record.__dict__) for record in caplog.records)
    assert "model attempt failed" in output
    assert "canary" not in output
    assert "Grüße" not in output


async def test_100_concurrent_attempts_succeed(provider: Provider, model: OpenAIChatModel) -> None:
    provider.always(answers("Hello.", first_after=0.1))
    completions = await asyncio.gather(
        *(model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT) for _ in range(100))
    )
    assert {completion.text for completion in completions} == {"Hello."}


def test_a_key_or_a_base_url_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(StartupError, match="OPENAI_API_KEY: is required"):
        ModelRouter.from_settings(Settings.model_validate(SETTINGS))


async def test_query_of_the_base_url_is_sent() -> None:
    settings = Settings.model_validate(SETTINGS | {"OPENAI_BASE_URL": "https://h/openai/v1?api-version=preview"})
    model = open_model(settings)
    assert str(model._url) == "https://h/openai/v1/chat/completions?api-version=preview"
    await model.close()
