"""Request and response of chat completions. Fields that do not change the meaning of a request are ignored."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from app.chat.openai_api.fields import PassedOn
from app.chat.openai_api.message_schemas import RequestMessage, Tool, ToolChoice
from app.chat.schemas.messages import ModelName
from app.chat.schemas.sampling import FrequencyPenalty, PresencePenalty, Temperature, TopP
from app.core.schema_types import Integral, ResponseModel, check_text

_Word = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,20}$")]
_One = Annotated[int, Field(strict=True, ge=1, le=1), Integral]
_TokenId = Annotated[str, StringConstraints(pattern=r"^\d{1,10}$")]
_Bias = Annotated[float, Field(strict=True, ge=-100, le=100)]
_MAX_BIASES = 1024
_TokenLimit = Annotated[int, Field(strict=True, ge=1, le=10_000_000), Integral]
_MAX_SEED = 9_223_372_036_854_775_000
"""About 2^63: the OpenAPI document has the limit as a float, which states this number exactly."""
_Seed = Annotated[int, Field(strict=True, ge=-_MAX_SEED, le=_MAX_SEED), Integral]
_LogprobCount = Annotated[int, Field(strict=True, ge=0, le=20), Integral]


def _check_stop(value: object) -> object:
    sequences = [value] if isinstance(value, str) else value
    if value is None:
        return value
    if not isinstance(sequences, list) or not all(isinstance(each, str) and each for each in sequences):
        raise ValueError("must be a text, or a list of up to 4 texts")
    if len(sequences) > 4 or any(len(each) > 1000 for each in sequences):  # noqa: PLR2004 - the limit of OpenAI
        raise ValueError("must be at most 4 texts of at most 1000 characters")
    return [check_text(each) for each in sequences]


def _refuse(reason: str) -> BeforeValidator:
    def refuse(value: object) -> object:
        if value is not None:
            raise ValueError(reason)
        return value

    return BeforeValidator(refuse)


def _check_bias_count(value: object) -> object:
    # Checked first: the library counts them after it has validated all of them.
    if isinstance(value, dict) and len(value) > _MAX_BIASES:
        raise ValueError(f"must have at most {_MAX_BIASES} tokens")
    return value


def _check_text_only(value: object) -> object:
    if value not in (None, ["text"]):
        raise ValueError("only the modality text is supported")
    return value


_SEQUENCE: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 1000}
Stop = Annotated[
    Any,
    BeforeValidator(_check_stop),
    WithJsonSchema({"anyOf": [_SEQUENCE, {"type": "array", "maxItems": 4, "items": _SEQUENCE}, {"type": "null"}]}),
]
_Modalities = Annotated[
    Any,
    BeforeValidator(_check_text_only),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "minItems": 1, "maxItems": 1, "items": {"const": "text"}}, {"type": "null"}]}
    ),
]
_ONLY_NULL = WithJsonSchema({"type": "null"})
# Lists and objects with many items stop at the first invalid one: tens of thousands of errors take seconds.
_Messages = Annotated[list[RequestMessage], Field(fail_fast=True)]
_Tools = Annotated[list[Tool], Field(fail_fast=True)]
_LogitBias = Annotated[
    dict[_TokenId, _Bias], Field(max_length=_MAX_BIASES, fail_fast=True), BeforeValidator(_check_bias_count)
]


class StreamOptions(BaseModel):
    """Options of a stream. Unknown ones are ignored."""

    model_config = ConfigDict(hide_input_in_errors=True)

    include_usage: bool | None = Field(None, strict=True, description="Whether the last chunk has the token counts.")


class ResponseFormat(BaseModel):
    """Format of the answer, passed on to the engine."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["text", "json_object", "json_schema"] = Field(description="Format.")
    json_schema: Annotated[dict[str, Any], PassedOn] | None = Field(
        None, description="Name and JSON Schema of the answer, with the type `json_schema`."
    )

    @model_validator(mode="after")
    def _check_schema(self) -> Self:
        if self.type == "json_schema" and not (self.json_schema and isinstance(self.json_schema.get("name"), str)):
            raise ValueError("json_schema must be an object with a name")
        return self


class ChatCompletionRequest(BaseModel):
    """A conversation to continue. `user`, `store` and unknown fields are ignored."""

    model_config = ConfigDict(
        hide_input_in_errors=True,
        json_schema_extra={"examples": [{"messages": [{"role": "user", "content": "What is my name?"}]}]},
    )

    messages: _Messages = Field(min_length=1, max_length=5000, description="The conversation, oldest message first.")
    model: ModelName | None = Field(None, description="A model of `GET /v1/models`. Absent: the default model.")
    stream: bool | None = Field(None, strict=True, description="Whether the answer is an event stream of chunks.")
    stream_options: StreamOptions | None = Field(None, description="Options of a stream.")
    temperature: Temperature = None
    top_p: TopP = None
    frequency_penalty: FrequencyPenalty = None
    presence_penalty: PresencePenalty = None
    max_completion_tokens: _TokenLimit | None = Field(
        None, examples=[100], description="Maximum number of tokens of the answer, at most that of the service."
    )
    max_tokens: _TokenLimit | None = Field(
        None, examples=[100], description="The older name of `max_completion_tokens`."
    )
    n: _One | None = Field(None, description="Number of answers: 1.")
    stop: Stop = Field(None, description="Up to 4 sequences that end the answer.")
    seed: _Seed | None = Field(None, description="Seed of the sampling, a number that is passed on.")
    logprobs: bool | None = Field(None, strict=True, description="Whether the answer has log probabilities.")
    top_logprobs: _LogprobCount | None = Field(
        None, description="Number of most likely tokens at each position; requires `logprobs`."
    )
    logit_bias: _LogitBias | None = Field(None, description="Bias by token id, passed on.")
    tools: _Tools | None = Field(None, max_length=128, description="Functions that the model may call, at most 128.")
    tool_choice: ToolChoice | None = Field(None, description="`auto`, `none`, `required`, or the function to call.")
    parallel_tool_calls: bool | None = Field(
        None, strict=True, description="Whether the model may call several functions at once."
    )
    response_format: ResponseFormat | None = Field(None, description="Format of the answer.")
    reasoning_effort: _Word | None = Field(
        None, examples=["low"], description="How much a reasoning model thinks, passed on."
    )
    verbosity: _Word | None = Field(None, examples=["low"], description="How long the answer is, passed on.")
    metadata: dict[str, Any] | None = Field(
        None, description="`session_id` names the session that question and answer are stored in. Others are ignored."
    )
    modalities: _Modalities = Field(None, description="`text` only.")
    audio: Annotated[Any, _refuse("audio is not supported"), _ONLY_NULL] = Field(None, description="Not supported.")
    functions: Annotated[Any, _refuse("is not supported; use tools"), _ONLY_NULL] = Field(
        None, description="Not supported: use `tools`."
    )
    function_call: Annotated[Any, _refuse("is not supported; use tool_choice"), _ONLY_NULL] = Field(
        None, description="Not supported: use `tool_choice`."
    )
    web_search_options: Annotated[Any, _refuse("web search is not supported"), _ONLY_NULL] = Field(
        None, description="Not supported."
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs requires logprobs")
        names = {tool.function.name for tool in self.tools or ()}
        if isinstance(self.tool_choice, dict) and self.tool_choice["function"]["name"] not in names:
            raise ValueError("tool_choice names a function that is not one of tools")
        if self.tool_choice == "required" and not names:
            raise ValueError("tool_choice requires tools")
        return self

    @property
    def token_limit(self) -> int | None:
        """Maximum number of tokens of the answer, under either name."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def engine_options(self) -> dict[str, Any]:
        """Parameters that are sent to the engine as they are."""
        options = {name: value for name in _PASSED_ON if (value := getattr(self, name)) is not None}
        if self.logprobs:
            options |= {"logprobs": True} | ({"top_logprobs": self.top_logprobs} if self.top_logprobs else {})
        if self.response_format is not None and self.response_format.type != "text":
            options["response_format"] = self.response_format.model_dump(exclude_none=True)
        if self.tools:
            options["tools"] = [tool.model_dump(exclude_none=True) for tool in self.tools]
            for name in ("tool_choice", "parallel_tool_calls"):
                if (value := getattr(self, name)) is not None:
                    options[name] = value
        return options


_PASSED_ON = ("stop", "seed", "logit_bias", "reasoning_effort", "verbosity")


class CompletionModel(ResponseModel):
    """A model that a request may name."""

    id: str = Field(description="Name of the model.")
    object: Literal["model"] = Field("model", description="Type of the object, as in OpenAI's API.")
    created: int = Field(description="Unix time in seconds; not known, and therefore 0.")
    owned_by: str = Field(description="Always `chat-bot-system`.")


class CompletionModelList(ResponseModel):
    """All models, the default one first."""

    object: Literal["list"] = Field("list", description="Type of the object, as in OpenAI's API.")
    data: list[CompletionModel] = Field(description="The models.")


class AnswerMessage(ResponseModel):
    """The answer."""

    role: Literal["assistant"] = Field("assistant", description="Always `assistant`.")
    content: str | None = Field(description="Null if the answer consists of tool calls.")
    refusal: None = Field(None, description="Always null.")
    reasoning_content: str | None = Field(None, description="What the model thought before the answer.")
    tool_calls: list[dict[str, Any]] | None = Field(None, description="Tool calls of the model. Null: none.")


class Choice(ResponseModel):
    """The one answer."""

    index: int = Field(description="Position among the answers: 0.")
    message: AnswerMessage = Field(description="Message with the answer.")
    logprobs: dict[str, Any] | None = Field(description="Log probabilities, if they were requested.")
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"] = Field(
        description="Why the answer ended."
    )


class CompletionUsage(ResponseModel):
    """Tokens of all attempts of the request. An answer from the response cache adds none."""

    prompt_tokens: int = Field(description="Tokens that were sent.")
    completion_tokens: int = Field(description="Tokens that were received.")
    total_tokens: int = Field(description="`prompt_tokens` + `completion_tokens`.")


class ChatCompletion(ResponseModel):
    """A complete answer."""

    id: str = Field(description="Id of the completion.")
    object: Literal["chat.completion"] = Field("chat.completion", description="Type of the object, as in OpenAI's API.")
    created: int = Field(description="Unix time in seconds.")
    model: str = Field(description="The model that answered, as its provider names it.")
    choices: list[Choice] = Field(description="The answer, as a list with one item.")
    usage: CompletionUsage = Field(description="Tokens of the request.")
