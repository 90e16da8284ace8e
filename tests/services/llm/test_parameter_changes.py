"""Parameters that models refuse: they are left out or renamed, in this request and in all later ones."""

from typing import Any

import pytest

from app.graph.ports.chat_model import ModelError, Sampling
from app.services.llm.error_reports import read_error_report
from app.services.llm.openai import OpenAIChatModel
from app.services.llm.parameter_changes import MAX_CHANGES, ParameterChanges
from tests.services.llm.openai_attempts import QUESTION, run_attempt
from tests.support.fakes import model_request
from tests.support.provider import Behaviour, Call, Provider, Wire
from tests.support.waiting import LONGEST_WAIT


def refuses(status: int, document: object) -> Behaviour:
    async def behave(_: Call, wire: Wire) -> None:
        await wire.json(status, document)

    return behave


def openai(message: str, param: str | None, code: str | None = "unsupported_parameter") -> Behaviour:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return refuses(400, {"error": error})


async def ask(model: OpenAIChatModel, *, name: str = "primary") -> str:
    sampling = Sampling(temperature=0.5, max_tokens=50, frequency_penalty=0.1)
    request = model_request(QUESTION, model=name, parameters=sampling)
    return (await model.complete(request, max_seconds=LONGEST_WAIT)).text


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
            refuses(400, [{"error": {"code": 400, "message": 'Unknown name "frequency_penalty": Cannot find field.'}}]),
            {"frequency_penalty": None},
            id="Gemini",
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
    assert model.parameter_changes.by_model == {"primary": change}
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
    assert model.parameter_changes.by_model["primary"] == {"max_tokens": None, "temperature": None}


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
    assert model.parameter_changes.by_model == {}


async def test_model_that_refuses_everything_is_asked_a_few_times(provider: Provider, model: OpenAIChatModel) -> None:
    async def behave(call: Call, wire: Wire) -> None:
        name = next((name for name in call.body if name not in {"model", "messages"}), "messages")
        await wire.json(400, {"error": {"message": "x", "param": name, "code": "unsupported_parameter"}})

    provider.always(behave)
    with pytest.raises(ModelError, match="provider_rejected"):
        await ask(model)
    assert len(provider.calls) <= MAX_CHANGES + 1


def test_concurrent_refusals_of_one_parameter_are_one_change() -> None:
    changes, sent = ParameterChanges(), {"model": "primary", "max_tokens": 50}
    report = read_error_report({"error": {"param": "max_tokens", "code": "unsupported_parameter"}}, 400)
    assert changes.learn("primary", sent, report)
    assert changes.learn("primary", sent, report)
    assert changes.by_model == {"primary": {"max_tokens": "max_completion_tokens"}}
