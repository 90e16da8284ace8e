"""Profile of a model: its name at the engine, its parameters, and the role of the instructions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from app.config import ModelSetting, Provider
from app.graph.ports.chat_model import ModelRequest
from app.graph.ports.messages import ModelMessage


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """Translates requests to a model into the bodies that its engine accepts."""

    model: str
    """The engine's name of the model."""
    max_tokens_field: str
    takes_temperature: bool
    system_role: str
    stream_usage: bool
    starts_with_reasoning: bool
    """Whether the text begins with reasoning, without an opening tag."""
    extra_body: Mapping[str, Any]

    @classmethod
    def from_setting(cls, setting: ModelSetting, provider: Provider) -> Self:
        """Return the profile of a model in `LLM_MODELS`."""
        effort = {} if setting.reasoning_effort is None else {"reasoning_effort": setting.reasoning_effort}
        return cls(
            model=setting.provider_model or setting.name,
            max_tokens_field=setting.max_tokens_field or provider.max_tokens_field,
            takes_temperature=setting.temperature != "none",
            system_role=setting.system_role,
            stream_usage=setting.stream_usage,
            starts_with_reasoning=setting.starts_with_reasoning,
            extra_body=effort | setting.extra_body,
        )

    def body(self, request: ModelRequest, *, is_streamed: bool = False) -> dict[str, Any]:
        """Return the body of a request."""
        body: dict[str, Any] = {"model": self.model, "messages": self._messages(request.messages)}
        body |= request.parameters.without_none()
        body |= request.options
        if not self.takes_temperature:
            body.pop("temperature", None)
        if (max_tokens := body.pop("max_tokens", None)) is not None:
            body[self.max_tokens_field] = max_tokens
        if is_streamed:
            body["stream"] = True
            if self.stream_usage:
                body["stream_options"] = {"include_usage": True}
        return {**body, **self.extra_body}

    def _messages(self, messages: Sequence[ModelMessage]) -> list[Any]:
        if self.system_role == "system" or not messages or messages[0]["role"] != "system":
            return list(messages)
        instructions, *others = messages
        if self.system_role == "developer":
            return [{**instructions, "role": "developer"}, *others]
        if others and others[0]["role"] == "user" and isinstance(others[0]["content"], str):
            # Many engines refuse two messages of the user in a row.
            first, *others = others
            return [{"role": "user", "content": f"{instructions['content']}\n\n{first['content']}"}, *others]
        return [{**instructions, "role": "user"}, *others]
