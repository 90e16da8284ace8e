"""Parameters that models refuse: they are left out or renamed, and remembered if that request is accepted."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.graph.ports.chat_model import Completion, ModelError, Sampling
from app.services.llm.error_reports import read_error_report
from app.services.llm.openai import OpenAIChatModel
from app.services.llm.parameter_changes import (
    MAX_CHANGES,
    MAX_VALUES,
    Changes,
    ParameterChanges,
    apply_changes,
    next_changes,
)
from tests.services.llm.openai_attempts import QUESTION, run_attempt
from tests.services.llm.streamed_attempts import LONG_TIMEOUTS
from tests.support.fakes import model_request
from tests.support.provider import Behaviour, Call, Provider, Wire, answers, fails
from tests.support.waiting import LONGEST_WAIT


def refuses(status: int, document: object) -> Behaviour:
    async def behave(_: Call, wire: Wire) -> None:
        await wire.json(status, document)

    return behave


def openai(message: str, param: str | None, code: str | None = "unsupported_parameter") -> Behaviour:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return refuses(400, {"error": error})


async def attempt(
    model: OpenAIChatModel,
    sampling: Sampling,
    options: Mapping[str, Any] | None = None,
    *,
    name: str = "primary",
    is_streamed: bool = False,
) -> Completion:
    request = replace(model_request(QUESTION, model=name, parameters=sampling), options=options or {})
    if is_streamed:
        return await model.stream(request, lambda _text: None, timeouts=LONG_TIMEOUTS)
    return await model.complete(request, max_seconds=LONGEST_WAIT)


async def ask(model: OpenAIChatModel, *, name: str = "primary", is_streamed: bool = False) -> str:
    sampling = Sampling(temperature=0.5, max_tokens=50, frequency_penalty=0.1)
    return (await attempt(model, sampling, name=name, is_streamed=is_streamed)).text


def parameters(call: Call) -> dict[str, Any]:
    return {name: value for name, value in call.body.items() if name not in {"model", "messages"}}


ALL = {"max_tokens": 50, "temperature": 0.5, "frequency_penalty": 0.1}


@pytest.mark.parametrize(
    ("refusal", "change"),
    [
        pytest.param(
            openai("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens"),
            {"max_tokens": "max_completion_tokens"},
            id="OpenAI, token limit",
        ),
        pytest.param(
            openai("'temperature' does not support 0.5. Only the default (1)...", "temperature", "unsupported_value"),
            {"temperature": None},
            id="OpenAI, value",
        ),
        pytest.param(
            openai("Unrecognized request argument supplied: frequency_penalty", None, None),
            {"frequency_penalty": None},
            id="Azure",
        ),
        pytest.param(
            refuses(422, {"detail": [{"loc": ["body", "frequency_penalty"], "type": "extra_forbidden", "msg": "x"}]}),
            {"frequency_penalty": None},
            id="Mistral",
        ),
        pytest.param(
            refuses(
                422,
                {
                    "object": "error",
                    "message": {"detail": [{"loc": ["body", "temperature"], "type": "extra_forbidden", "msg": "x"}]},
                },
            ),
            {"temperature": None},
            id="Mistral, in the message",
        ),
        pytest.param(
            refuses(400, [{"error": {"code": 400, "message": 'Unknown name "frequency_penalty": Cannot find field.'}}]),
            {"frequency_penalty": None},
            id="Gemini",
        ),
        pytest.param(
            refuses(400, {"error": {"message": "invalid temperature: only 1 is allowed for this model"}}),
            {"temperature": None},
            id="Moonshot",
        ),
        pytest.param(
            refuses(400, {"error": {"message": "property 'temperature' is unsupported"}}),
            {"temperature": None},
            id="wording",
        ),
    ],
)
async def test_refused_parameter_is_changed_and_remembered(
    provider: Provider,
    model: OpenAIChatModel,
    refusal: Behaviour,
    change: dict[str, str | None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider.script(refusal)
    assert await ask(model) == await ask(model) == "Hello."
    first, *others = (parameters(call) for call in provider.calls)
    (old, new), *_ = change.items()
    assert first == ALL
    assert others == [{(new if name == old else name): ALL[name] for name in ALL if name != old or new}] * 2
    assert model.parameter_changes.of("primary") == change
    assert caplog.messages == ["model does not support a parameter"]
    await ask(model, name="other")
    assert parameters(provider.calls[-1]) == ALL


async def test_several_parameters_are_refused_one_after_the_other(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(
        openai("Use 'max_completion_tokens' instead.", "max_tokens"),
        openai("Unknown parameter", "max_completion_tokens"),
        openai("Unsupported value", "temperature", "unsupported_value"),
    )
    assert await ask(model) == "Hello."
    assert parameters(provider.calls[-1]) == {"frequency_penalty": 0.1}
    assert model.parameter_changes.of("primary") == {"max_tokens": None, "temperature": None}


async def test_stream_works_without_stream_options(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(openai("Unknown parameter: 'stream_options'", None, None))
    completion = await run_attempt(model, LONGEST_WAIT, is_streamed=True)
    assert (completion.text, completion.token_counts.is_estimated) == ("Hello.", True)
    assert parameters(provider.calls[-1]) == {"stream": True}


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(openai("max_tokens is too large: 100000", "max_tokens", None), id="value"),
        pytest.param(openai("This model's maximum context length is 9, not 50 max_tokens", None, None), id="context"),
        pytest.param(openai("Unsupported parameter: 'messages'", "messages"), id="required parameter"),
        pytest.param(openai("Unsupported parameter: 'top_p'", "top_p"), id="parameter that was not sent"),
        pytest.param(refuses(500, {"error": {"message": "unknown temperature"}}), id="500"),
    ],
)
async def test_other_errors_are_not_answered_with_another_request(
    provider: Provider, model: OpenAIChatModel, refusal: Behaviour
) -> None:
    provider.script(refusal)
    with pytest.raises(ModelError):
        await ask(model)
    assert len(provider.calls) == 1
    assert model.parameter_changes.of("primary") == {}


async def test_model_that_refuses_everything_is_asked_a_few_times(provider: Provider, model: OpenAIChatModel) -> None:
    async def behave(call: Call, wire: Wire) -> None:
        name = next((name for name in call.body if name not in {"model", "messages"}), "messages")
        await wire.json(400, {"error": {"message": "x", "param": name, "code": "unsupported_parameter"}})

    provider.always(behave)
    with pytest.raises(ModelError, match="provider_rejected"):
        await ask(model)
    assert len(provider.calls) <= MAX_CHANGES + 1


TOOL = {"type": "function", "function": {"name": "temperature", "parameters": {"type": "object", "x": 1}}}
PLAIN_AND_STREAMED = pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])


@PLAIN_AND_STREAMED
async def test_a_refusal_that_quotes_the_request_changes_no_other_request(
    provider: Provider, model: OpenAIChatModel, caplog: pytest.LogCaptureFixture, *, is_streamed: bool
) -> None:
    async def behave(call: Call, wire: Wire) -> None:
        if "tools" in call.body:
            await wire.json(400, {"error": {"message": "Function 'temperature': unsupported schema"}})
        else:
            await answers("Hello.")(call, wire)

    provider.always(behave)
    with pytest.raises(ModelError, match="provider_rejected"):
        await attempt(model, Sampling(temperature=0.5), {"tools": [TOOL]}, is_streamed=is_streamed)
    assert model.parameter_changes.of("primary") == {}
    assert "model does not support a parameter" not in caplog.messages
    assert await ask(model, is_streamed=is_streamed) == "Hello."
    assert provider.calls[-1].body["temperature"] == 0.5


@PLAIN_AND_STREAMED
async def test_changes_are_remembered_only_when_a_request_with_them_is_accepted(
    provider: Provider, model: OpenAIChatModel, *, is_streamed: bool
) -> None:
    provider.script(openai("Unsupported", "temperature"), fails(503))
    with pytest.raises(ModelError, match="provider_error"):
        await ask(model, is_streamed=is_streamed)
    assert "temperature" not in provider.calls[-1].body
    assert model.parameter_changes.of("primary") == {}
    provider.script(openai("Unsupported", "temperature"))
    assert await ask(model, is_streamed=is_streamed) == "Hello."
    assert model.parameter_changes.of("primary") == {"temperature": None}


@PLAIN_AND_STREAMED
@pytest.mark.parametrize(
    "error",
    [
        {"message": "Unsupported value: 'high' is not supported. Use 'low' instead.", "code": "unsupported_value"},
        {"message": "reasoning_effort 'high' is not supported"},
    ],
)
async def test_a_value_that_a_client_chooses_changes_no_request_with_another_value(
    provider: Provider, model: OpenAIChatModel, error: dict[str, str], *, is_streamed: bool
) -> None:
    async def behave(call: Call, wire: Wire) -> None:
        if call.body.get("reasoning_effort") == "high":
            await wire.json(400, {"error": {"param": "reasoning_effort", **error}})
        else:
            await answers("Hello.")(call, wire)

    provider.always(behave)
    for effort in ("high", "high", "low"):
        await attempt(model, Sampling(), {"reasoning_effort": effort}, is_streamed=is_streamed)
    assert [call.body.get("reasoning_effort") for call in provider.calls] == ["high", None, None, "low"]
    assert model.parameter_changes.of("primary") == {"reasoning_effort": None}


async def test_a_limit_that_is_too_high_does_not_remove_the_limit_of_others(
    provider: Provider, model: OpenAIChatModel
) -> None:
    async def behave(call: Call, wire: Wire) -> None:
        if "max_completion_tokens" in call.body:
            await openai("Unknown parameter: 'max_completion_tokens'", "max_completion_tokens")(call, wire)
        elif call.body.get("max_tokens", 0) > 1000:
            await wire.json(400, {"error": {"message": "max_tokens: 5000 is not supported"}})
        else:
            await answers("Hello.")(call, wire)

    provider.always(behave)
    for limit in (5000, 50):
        await attempt(model, Sampling(max_tokens=limit))
    assert provider.calls[-1].body["max_tokens"] == 50


async def test_concurrent_requests_learn_the_same_change_once(
    provider: Provider, model: OpenAIChatModel, caplog: pytest.LogCaptureFixture
) -> None:
    async def behave(call: Call, wire: Wire) -> None:
        if "max_tokens" in call.body:
            await openai("Use 'max_completion_tokens' instead.", "max_tokens")(call, wire)
        elif "temperature" in call.body:
            await openai("Unsupported", "temperature")(call, wire)
        else:
            await answers("Hello.")(call, wire)

    provider.always(behave)
    assert await asyncio.gather(*(ask(model) for _ in range(10))) == ["Hello."] * 10
    assert model.parameter_changes.of("primary") == {"max_tokens": "max_completion_tokens", "temperature": None}
    assert caplog.messages == ["model does not support a parameter"] * 2
    before = len(provider.calls)
    await ask(model)
    assert [parameters(call) for call in provider.calls[before:]] == [
        {"max_completion_tokens": 50, "frequency_penalty": 0.1}
    ]


def test_a_late_request_does_not_undo_what_others_have_learned() -> None:
    changes = ParameterChanges("default")
    renamed: Changes = {("max_tokens", None): "max_completion_tokens"}
    changes.remember("primary", {}, renamed)
    changes.remember("primary", renamed, {("max_tokens", None): None})
    changes.remember("primary", renamed, {**renamed, ("temperature", None): None})
    assert changes.of("primary") == {"max_tokens": None, "temperature": None}


def test_remembered_values_are_limited() -> None:
    changes = ParameterChanges("default")
    changes.remember("primary", {}, {("top_p", None): None})
    for number in range(MAX_VALUES + 5):
        changes.remember("primary", {}, {("temperature", str(number)): None})
    current = changes.current("primary")
    assert len(current) == MAX_VALUES + 1
    assert ("top_p", None) in current
    assert ("temperature", "5") in current
    assert ("temperature", "4") not in current


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        ({}, {"param": "max_tokens"}, {("max_tokens", None): "max_completion_tokens"}),
        (
            {("max_tokens", None): "max_completion_tokens"},
            {"param": "max_completion_tokens"},
            {("max_tokens", None): None},
        ),
        ({("max_tokens", None): None}, {"param": "max_tokens"}, None),
        (
            {},
            {"param": "max_tokens", "code": "unsupported_value"},
            {("max_tokens", "50"): "max_completion_tokens"},
        ),
        (
            {},
            {"param": "max_tokens", "code": "unsupported_value", "message": "Only the default (9) is supported."},
            {("max_tokens", None): "max_completion_tokens"},
        ),
        (
            {("max_tokens", "50"): "max_completion_tokens"},
            {"param": "max_completion_tokens"},
            {("max_tokens", "50"): None},
        ),
        (
            {("max_tokens", "60"): None},
            {"param": "max_tokens"},
            {("max_tokens", "60"): None, ("max_tokens", None): "max_completion_tokens"},
        ),
        ({}, {"param": "tools"}, None),
    ],
)
def test_next_changes(changes: Changes, error: dict[str, str], expected: Changes | None) -> None:
    body = {"model": "primary", "messages": [], "tools": [], "max_tokens": 50}
    report = read_error_report({"error": {"code": "unsupported_parameter", **error}}, 400)
    before = dict(changes)
    assert next_changes(changes, body, report) == expected
    assert changes == before
    if expected is not None:
        assert apply_changes(expected, body) != apply_changes(changes, body)
