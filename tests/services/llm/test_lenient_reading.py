"""Answers with the peculiarities of engines, plain and streamed."""

import json

import pytest

from app.graph.ports.chat_model import Completion, ModelError, ModelTokenCounts
from app.services.llm.openai import OpenAIChatModel
from tests.services.llm.openai_attempts import QUESTION
from tests.services.llm.streamed_attempts import STOP, StreamedAttempt
from tests.support.fakes import model_request
from tests.support.provider import DONE, Provider, chunk, sends, streams
from tests.support.waiting import LONGEST_WAIT


def delta(delta: object, *, index: object = 0, finish_reason: object = None, **fields: object) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"model": "m", "choices": [choice], **fields}).encode() + b"\n\n"


def event(**document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


async def complete(model: OpenAIChatModel) -> Completion:
    return await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"\xef\xbb\xbf" + chunk("Hello."), STOP, DONE], id="byte order mark"),
        pytest.param([b"data:\n\n", b"data: \n\n", chunk("Hello."), STOP, DONE], id="empty data"),
        pytest.param([b'data: {"choices": [{"delta":\ndata: {"content": "Hello."}}]}\n\n', STOP], id="two data lines"),
        pytest.param([chunk("Hello."), STOP.removesuffix(b"\n\n")], id="no line end at the end"),
        pytest.param([(chunk("Hello.") + STOP + DONE).replace(b"\n", b"\r")], id="CR"),
        pytest.param([delta({"content": "Hello."}), delta({"content": "x"}, index=1), STOP, DONE], id="other index"),
        pytest.param([event(choices=None), event(choices=[]), chunk("Hello."), STOP], id="choices null or empty"),
        pytest.param([delta(None), delta({}), delta({"content": None}), chunk("Hello."), STOP], id="empty deltas"),
        pytest.param(
            [delta({"content": [{"type": "text", "text": "Hel"}, "lo.", {"type": "image_url"}]}), STOP], id="parts"
        ),
        pytest.param(
            [delta({"content": "Hello."}, finish_reason=""), delta({}, finish_reason="stop")], id="empty, then stop"
        ),
        pytest.param([delta({"content": "Hello."}, finish_reason=""), DONE], id="empty until the end"),
        pytest.param([chunk("Hello."), delta({}, finish_reason=1), DONE], id="number"),
        pytest.param([chunk("Hello."), delta({}, finish_reason="stopped by a stop word!"), DONE], id="any text"),
        pytest.param([chunk("Hello.", error=None), chunk(error={}, finish_reason="stop")], id="empty error"),
        pytest.param([chunk("Hello.", error={"code": 0, "message": ""}), STOP], id="error without content"),
        pytest.param([b"event: ping\ndata: now\n\n", chunk("Hello."), STOP], id="event of another type"),
        pytest.param([delta({"content": {"type": "text", "text": "Hello."}}), STOP], id="one part"),
        pytest.param(
            [chunk("Hello."), event(choices=[{"message": {"content": "Hello."}, "finish_reason": "stop"}])],
            id="whole message at the end",
        ),
        pytest.param(
            [event(model="m", choices=[{"message": {"content": "Hello."}, "finish_reason": "stop"}])], id="message"
        ),
    ],
)
async def test_peculiarities_lose_no_answer(provider: Provider, model: OpenAIChatModel, pieces: list[bytes]) -> None:
    provider.script(streams(*pieces))
    attempt = StreamedAttempt(model)
    assert (await attempt.run()).text == attempt.text == "Hello."


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        pytest.param([delta({"content": "Hel"}, finish_reason="")], "Hel", id="empty finish reason and no end"),
        pytest.param([chunk("Hel"), event(object="error", message="x", code=500)], "Hel", id="object error"),
        pytest.param([chunk("Hel"), event(error="overloaded")], "Hel", id="error is a text"),
        pytest.param([chunk("Hel"), b"event: error\ndata: overloaded\n\n"], "Hel", id="error event"),
        pytest.param([chunk("Hel"), event(choices=[{"error": {"code": 502}}])], "Hel", id="error in the choice"),
        pytest.param([chunk("Hel"), b"data: and more\n\n"], "Hel", id="not JSON"),
        pytest.param(
            [delta({"content": "x"}, index=1), delta({}, index=1, finish_reason="stop"), DONE], "", id="index 1"
        ),
    ],
)
async def test_a_missing_end_makes_no_answer(
    provider: Provider, model: OpenAIChatModel, pieces: list[bytes], text: str
) -> None:
    provider.script(streams(*pieces))
    attempt = StreamedAttempt(model)
    assert (await attempt.fail()).retryable
    assert attempt.text == text


@pytest.mark.parametrize(
    "usages",
    [
        [{"prompt_tokens": 12.0, "completion_tokens": 3.0}],
        [{"prompt_tokens": 12}, {"completion_tokens": 3}],
        [{"prompt_tokens": 12, "completion_tokens": 1}, {"prompt_tokens": 12, "completion_tokens": 3}],
        [{"prompt_tokens": 12, "completion_tokens": 3}, {"prompt_tokens": 0, "completion_tokens": 0}],
    ],
)
async def test_usage_comes_in_parts(provider: Provider, model: OpenAIChatModel, usages: list[object]) -> None:
    provider.script(
        streams(
            *[chunk("Hello.", usage=usage) for usage in usages[:1]],
            STOP,
            *[event(choices=[], usage=usage) for usage in usages[1:]],
            DONE,
        )
    )
    assert (await StreamedAttempt(model).run()).token_counts == ModelTokenCounts(12, 3)


async def test_a_missing_part_of_the_usage_is_estimated(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(streams(chunk("Hello."), STOP, event(choices=[], usage={"prompt_tokens": 12}), DONE))
    assert (await StreamedAttempt(model).run()).token_counts == ModelTokenCounts(12, 2, is_estimated=True)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([delta({"reasoning_content": "Let me"}), delta({"reasoning_content": " think."})], id="DeepSeek"),
        pytest.param([delta({"reasoning": "Let me think.", "reasoning_content": "Let me think."})], id="two names"),
        pytest.param([chunk("<thi"), chunk("nk>Let me think.</th"), chunk("ink>")], id="tags"),
        pytest.param([chunk("\n<think>Let me think.</think>")], id="tags in one piece"),
        pytest.param(
            [delta({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me think."}]}]})],
            id="Mistral",
        ),
    ],
)
async def test_reasoning_is_not_a_part_of_the_answer(
    provider: Provider, model: OpenAIChatModel, pieces: list[bytes]
) -> None:
    provider.script(streams(*pieces, chunk("Hello <think>x</think>."), STOP, DONE))
    attempt = StreamedAttempt(model)
    completion = await attempt.run()
    assert completion.text == attempt.text == "Hello <think>x</think>."
    assert completion.reasoning == "Let me think."


@pytest.mark.parametrize(
    "message",
    [
        {"content": "Hello.", "reasoning_content": "Let me think."},
        {"content": "<think>Let me think.</think>Hello."},
        {"content": [{"type": "thinking", "thinking": "Let me think."}, {"type": "text", "text": "Hello."}]},
    ],
    ids=["field", "tags", "parts"],
)
async def test_reasoning_of_a_plain_answer(
    provider: Provider, model: OpenAIChatModel, message: dict[str, object]
) -> None:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    provider.script(sends(json.dumps({"model": "m", "choices": [choice]}).encode()))
    completion = await complete(model)
    assert (completion.text, completion.reasoning) == ("Hello.", "Let me think.")


async def test_reasoning_that_uses_up_the_tokens_is_a_failure_of_its_own(
    provider: Provider, model: OpenAIChatModel
) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 50}
    provider.script(streams(delta({"reasoning": "Let me"}), delta({}, finish_reason="length", usage=usage), DONE))
    error = await StreamedAttempt(model).fail()
    assert (error.code, error.retryable, error.is_model_fault) == ("reasoning_exhausted", False, False)
    assert error.token_counts == ModelTokenCounts(12, 50)


async def test_a_refusal_is_not_an_answer(provider: Provider, model: OpenAIChatModel) -> None:
    choice = {"index": 0, "message": {"content": None, "refusal": "I cannot help."}, "finish_reason": "stop"}
    provider.script(sends(json.dumps({"choices": [choice]}).encode()))
    with pytest.raises(ModelError) as failure:
        await complete(model)
    assert (failure.value.code, failure.value.retryable, failure.value.is_model_fault) == (
        "provider_refused",
        False,
        False,
    )
