"""Language models: provider, allowed models, timeouts, context window."""

import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from app.config.base import Dollars, OptionalUrl, Seconds, SettingsBase, parse_json_list, split_url, strip_to_none

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant. Answer correctly, to the point, and in the language of the question."
)

_HEADER_TOKEN: Final = re.compile(r"[!#-&(-_a-~]+")
"""ASCII characters without spaces, control characters and quotes."""
_COMPLETIONS: Final = "/chat/completions"

Price = Dollars
"""US dollars per million tokens."""


class ModelSetting(BaseModel):
    """A model that clients may request, in `LLM_MODELS`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[^\s,](.*[^\s,])?$", max_length=200)
    context_window: int | None = Field(None, ge=1, le=100_000_000)
    prompt_price: Price | None = None
    completion_price: Price | None = None

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        if (self.prompt_price is None) is not (self.completion_price is None):
            raise ValueError("prompt_price and completion_price: both or none")
        return self


class LlmSettings(SettingsBase):
    """Provider, models, timeouts, response cache and prompt."""

    OPENAI_API_KEY: Annotated[SecretStr | None, BeforeValidator(strip_to_none)] = Field(
        None,
        description="API key of the provider. The chat service needs it or `OPENAI_BASE_URL`; the others do not.",
    )
    OPENAI_BASE_URL: OptionalUrl = Field(
        None,
        description="Base URL of any OpenAI-compatible engine, `/v1` included, without `/chat/completions`. Its "
        "query is sent with every request. Unset: OpenAI itself.",
    )
    LLM_MODEL: str = Field("gpt-4", min_length=1, max_length=200, description="The default model.")
    LLM_FALLBACK_MODEL: str = Field(
        "gpt-3.5-turbo",
        max_length=2000,
        description="Fallback model, used when the default model fails; several, comma-separated, are used in order. "
        "Empty: none.",
    )
    LLM_MODELS: Annotated[list[ModelSetting], NoDecode] = Field(
        [],
        max_length=1000,
        description="Other models that a client may request, as a JSON list of names or of objects with `name` and "
        "optionally, to override the price list, `context_window` in tokens and `prompt_price` and "
        "`completion_price` in US dollars per million tokens. The list may also override the two models above.",
    )
    LLM_CONTEXT_WINDOW: int = Field(
        4096,
        ge=1,
        le=100_000_000,
        description="Context window in tokens of a model that neither `LLM_MODELS` nor the price list describes.",
    )
    LLM_MAX_TOKENS: int = Field(2048, ge=1, le=1_000_000, description="Maximum number of tokens of one answer.")
    LLM_TEMPERATURE: float = Field(0.7, ge=0, le=2, allow_inf_nan=False, description="Sampling temperature.")
    LLM_CACHE_TTL: int = Field(
        3600,
        ge=0,
        le=31_536_000,
        description="Seconds for which the response cache keeps an answer for identical requests. 0: no cache.",
    )
    LLM_CACHE_SCOPE: Literal["user", "global"] = Field(
        "user", description="Who may get a cached answer: only the user it was generated for, or all users (`global`)."
    )
    LLM_TURN_TIMEOUT: Seconds = Field(
        60,
        description="Deadline of one turn: all attempts with all models together, until a streamed answer begins. "
        "The gateway waits 80 s.",
    )
    LLM_ATTEMPT_TIMEOUT: Seconds = Field(30, description="Timeout of one attempt with one model, in seconds.")
    LLM_STREAM_PAUSE: Seconds = Field(20, description="Maximum pause between two chunks of a streamed answer.")
    LLM_STREAM_TIMEOUT: Seconds = Field(
        300, le=900, description="Maximum duration of a streamed answer, from its first chunk to its last."
    )
    LLM_REASONING_TIMEOUT: Seconds = Field(
        600,
        le=3600,
        description="Maximum time until a streamed answer begins, while the engine sends reasoning or comments.",
    )
    LLM_RETRIES_PER_MODEL: int = Field(
        1, ge=0, le=10, description="Maximum number of retries with one model before the next model is used."
    )
    LLM_BREAKER_FAILURES: int = Field(
        5, ge=1, le=1_000_000, description="Consecutive failures of a model that open its circuit breaker."
    )
    LLM_BREAKER_PAUSE: Seconds = Field(
        10, description="Seconds a circuit breaker stays open. Then one attempt is allowed as a probe."
    )
    LLM_HISTORY_MESSAGES: int = Field(
        10,
        ge=0,
        le=200,
        description="Maximum number of earlier messages of the session sent with a question, if they fit the model.",
    )
    LLM_SUMMARY_ENABLED: bool = Field(
        default=True,
        description="Whether the model summarizes messages that are too old to be sent, and the summary is sent "
        "instead.",
    )
    LLM_SUMMARY_MESSAGES: int = Field(
        8, ge=1, le=100, description="Messages summarized in one step. Use a small number for a small model."
    )
    LLM_TITLE_ENABLED: bool = Field(
        default=True,
        description="Whether the model writes a title for sessions without one, after their first answer. Otherwise "
        "they keep the beginning of their first question as title.",
    )
    LLM_TITLE_MAX_TOKENS: int = Field(
        100, ge=8, le=10_000, description="Maximum number of tokens of a title. A model that reasons gets more."
    )
    LLM_SYSTEM_PROMPT: str = Field(
        DEFAULT_SYSTEM_PROMPT,
        min_length=1,
        max_length=16_000,
        description="System prompt of every question. Instructions of the session are appended to it.",
    )

    @field_validator("LLM_MODELS", mode="before")
    @classmethod
    def _parse_models(cls, value: object) -> object:
        if isinstance(value, str):
            value = parse_json_list(value) if value.strip() else []
        if not isinstance(value, list):
            raise ValueError("not a valid JSON list")  # noqa: TRY004 - pydantic expects ValueError
        return [{"name": item} if isinstance(item, str) else item for item in value]

    @field_validator("LLM_MODELS")
    @classmethod
    def _check_models(cls, models: list[ModelSetting]) -> list[ModelSetting]:
        if len({model.name for model in models}) < len(models):
            raise ValueError("a model is listed twice")
        return models

    @field_validator("OPENAI_API_KEY")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        # It is sent in a header.
        if key is not None and not _HEADER_TOKEN.fullmatch(key.get_secret_value()):
            raise ValueError("must consist of ASCII letters, digits and punctuation, without spaces and quotes")
        return key

    @field_validator("OPENAI_BASE_URL")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        if url is not None:
            parts = split_url(url, {"http", "https"})
            if parts.fragment or parts.username is not None:
                raise ValueError("must have neither a user name nor a fragment")
            if (path := parts.path.rstrip("/")).endswith(_COMPLETIONS):
                raise ValueError(f"must be the base URL, which ends before {_COMPLETIONS}")
            if path != parts.path:
                url = urlunsplit(parts._replace(path=path))
        return url

    @model_validator(mode="after")
    def _check_timeouts(self) -> Self:
        if self.LLM_ATTEMPT_TIMEOUT > self.LLM_TURN_TIMEOUT:
            raise ValueError("LLM_ATTEMPT_TIMEOUT: must not exceed LLM_TURN_TIMEOUT")
        return self

    @property
    def fallback_models(self) -> tuple[str, ...]:
        """Names in `LLM_FALLBACK_MODEL`, in order."""
        return tuple(name for part in self.LLM_FALLBACK_MODEL.split(",") if (name := part.strip()))
