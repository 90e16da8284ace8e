"""Bodies of requests, by the profile of the model."""

from typing import Any

import pytest

from app.config import ModelSetting, Provider
from app.graph.ports.chat_model import Sampling
from app.graph.ports.messages import PromptMessage
from app.services.llm.model_profile import ModelProfile
from tests.support.fakes import model_request

INSTRUCTIONS: PromptMessage = {"role": "system", "content": "Be brief."}
QUESTION: PromptMessage = {"role": "user", "content": "Hi"}
ANSWER: PromptMessage = {"role": "assistant", "content": "Hello."}
PROVIDER = Provider("house", "http://h/v1")


def body(messages: list[PromptMessage] | None = None, *, is_streamed: bool = False, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of the setting
    profile = ModelProfile.from_setting(ModelSetting(name="m", **fields), PROVIDER)
    request = model_request(
        messages or [INSTRUCTIONS, QUESTION], parameters=Sampling(temperature=0.5, top_p=0.9, max_tokens=50)
    )
    return profile.body(request, is_streamed=is_streamed)


def parameters(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of the setting
    return {name: value for name, value in body(**fields).items() if name not in {"model", "messages"}}


PLAIN = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 50}


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        pytest.param({}, PLAIN, id="defaults"),
        pytest.param(
            {"max_tokens_field": "max_completion_tokens"},
            {"temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 50},
            id="token limit",
        ),
        pytest.param({"temperature": False}, {"top_p": 0.9, "max_tokens": 50}, id="no temperature"),
        pytest.param({"temperature": 1}, PLAIN, id="temperature of the request"),
        pytest.param({"reasoning_effort": "low"}, PLAIN | {"reasoning_effort": "low"}, id="reasoning effort"),
        pytest.param(
            {"extra_body": {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}, "temperature": 0.1}},
            PLAIN | {"temperature": 0.1, "top_k": 20, "chat_template_kwargs": {"enable_thinking": False}},
            id="extra body",
        ),
    ],
)
def test_parameters(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert parameters(**fields) == sent


def test_provider_has_its_own_name_of_the_model() -> None:
    assert (body()["model"], body(provider_model="vendor/m:free")["model"]) == ("m", "vendor/m:free")


def test_usage_of_a_stream_is_requested_unless_the_engine_does_not_know_it() -> None:
    assert body(is_streamed=True).items() >= {"stream": True, "stream_options": {"include_usage": True}}.items()
    streamed = body(is_streamed=True, stream_usage=False)
    assert streamed["stream"] is True
    assert "stream_options" not in streamed


@pytest.mark.parametrize(
    ("role", "messages", "sent"),
    [
        ("system", [INSTRUCTIONS, QUESTION], [INSTRUCTIONS, QUESTION]),
        ("developer", [INSTRUCTIONS, QUESTION], [{"role": "developer", "content": "Be brief."}, QUESTION]),
        ("user", [INSTRUCTIONS, QUESTION, ANSWER], [{"role": "user", "content": "Be brief.\n\nHi"}, ANSWER]),
        ("user", [INSTRUCTIONS], [{"role": "user", "content": "Be brief."}]),
        ("user", [QUESTION], [QUESTION]),
    ],
)
def test_role_of_the_instructions(role: str, messages: list[PromptMessage], sent: list[PromptMessage]) -> None:
    assert body(messages, system_role=role)["messages"] == sent
