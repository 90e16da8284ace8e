"""Language models: providers, allowed models, timeouts, cache, history and prompts."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from app.config.base import Line, OptionalUrl, Seconds, SettingsBase, parse_json_list, strip_to_none
from app.config.llm_models import ModelSetting
from app.config.llm_providers import (
    DEFAULT_PROVIDER,
    Provider,
    ProviderSetting,
    check_base_url,
    check_key,
    resolve_provider,
)
from app.core.turn_duration import max_streamed_seconds

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant. Answer correctly, to the point, and in the language of the question."
)


class LlmSettings(SettingsBase):
    """Provider, models, timeouts, response cache and prompt."""

    OPENAI_API_KEY: Annotated[SecretStr | None, BeforeValidator(strip_to_none)] = Field(
        None,
        description="API key of the default provider. The chat service needs it, `OPENAI_BASE_URL` or "
        "`LLM_PROVIDERS`; the others do not.",
    )
    OPENAI_BASE_URL: OptionalUrl = Field(
        None,
        repr=False,  # its query may contain a key
        description="Base URL of the default provider, any OpenAI-compatible engine, `/v1` included, without "
        "`/chat/completions`. Its query is sent with every request. Unset: OpenAI itself.",
    )
    LLM_MODEL: Line = Field("gpt-4", min_length=1, max_length=200, description="The default model.")
    LLM_FALLBACK_MODEL: Line = Field(
        "gpt-3.5-turbo",
        max_length=2000,
        description="Fallback model, used when the default or requested model fails; several, comma-separated, are "
        "used in order. Empty: none.",
    )
    LLM_MODELS: Annotated[list[ModelSetting], NoDecode] = Field(
        [],
        max_length=1000,
        description="Other models that a client may request, as a JSON list of names or of objects with `name` and "
        "optionally `provider`, `context_window` in tokens, `prompt_price` and `completion_price` in US dollars per "
        "million tokens, and others that `docs/how-to/models.md` lists. The list may also describe the "
        "default and fallback models.",
    )
    LLM_PROVIDERS: Annotated[list[ProviderSetting], NoDecode] = Field(
        [],
        max_length=100,
        description="Other providers, as a JSON list of objects with `name`, `base_url`, `api_key_env` (name of the "
        "environment variable that holds the key) or `api_key_file`, and others that "
        "`docs/how-to/models.md` lists. "
        "Without `OPENAI_API_KEY` and `OPENAI_BASE_URL`, the first one is the default provider.",
    )
    LLM_CONTEXT_WINDOW: int = Field(
        4096,
        ge=1,
        le=100_000_000,
        description="Context window in tokens of a model that neither `LLM_MODELS` nor the price list describes.",
    )
    LLM_MAX_TOKENS: int = Field(2048, ge=1, le=1_000_000, description="Maximum number of tokens of one answer.")
    LLM_TEMPERATURE: float = Field(
        0.7,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="Sampling temperature, unless the request or the model has its own.",
    )
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
        description="Deadline of one turn in seconds: all attempts with all models together, until a streamed answer "
        "begins. The gateway waits 20 s longer, at least 80 s.",
    )
    LLM_ATTEMPT_TIMEOUT: Seconds = Field(
        30,
        description="Timeout of one attempt with one model, in seconds; if it is streamed, until the text begins. "
        "A provider or model may have its own `attempt_timeout`.",
    )
    LLM_STREAM_PAUSE: Seconds = Field(
        20,
        description="Approximate maximum pause in seconds during a streamed answer. A provider may have its own "
        "`stream_pause`.",
    )
    LLM_STREAM_TIMEOUT: Seconds = Field(
        300,
        le=900,
        description="Maximum duration of a streamed answer in seconds, from its first chunk to its last. Up to the "
        "timeout of the attempt is added.",
    )
    LLM_REASONING_TIMEOUT: Seconds = Field(
        600,
        le=3600,
        description="Maximum time in seconds from the start of a streamed attempt until its text begins, while the "
        "engine sends reasoning or comments, also beyond `LLM_TURN_TIMEOUT`. Not less than the timeout of the attempt.",
    )
    LLM_RETRIES_PER_MODEL: int = Field(
        1, ge=0, le=10, description="Maximum number of retries with one model before the next model is used."
    )
    LLM_BREAKER_FAILURES: int = Field(
        5, ge=1, le=1_000_000, description="Consecutive failures of a model that open its circuit breaker."
    )
    LLM_BREAKER_PAUSE: Seconds = Field(
        10,
        description="Seconds a circuit breaker stays open, or longer, up to 60, if the provider asks for it. Then one "
        "attempt is allowed as a probe.",
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
        description="Whether the model writes a title for sessions without one, after their first complete answer. "
        "Otherwise they keep the beginning of their first question as title.",
    )
    LLM_TITLE_MAX_TOKENS: int = Field(
        100, ge=8, le=10_000, description="Maximum number of tokens of a title. A model that reasons gets more."
    )
    LLM_SYSTEM_PROMPT: str = Field(
        DEFAULT_SYSTEM_PROMPT,
        min_length=1,
        max_length=16_000,
        description="System prompt of every question. Instructions of the question and its session are appended to it.",
    )

    @property
    def max_streamed_seconds(self) -> float:
        """Maximum duration of a streamed turn, without storing its answer."""
        return max_streamed_seconds(
            turn_timeout=self.LLM_TURN_TIMEOUT,
            reasoning_timeout=self.LLM_REASONING_TIMEOUT,
            stream_timeout=self.LLM_STREAM_TIMEOUT,
        )

    @field_validator("LLM_MODELS", "LLM_PROVIDERS", mode="before")
    @classmethod
    def _parse_list(cls, value: object) -> object:
        if isinstance(value, str):
            value = parse_json_list(value) if value.strip() else []
        if not isinstance(value, list):
            raise ValueError("not a valid JSON list")  # noqa: TRY004 - pydantic expects ValueError
        return [{"name": item} if isinstance(item, str) else item for item in value]

    @field_validator("LLM_MODELS")
    @classmethod
    def _check_models(cls, models: list[ModelSetting]) -> list[ModelSetting]:
        if repeated := _repeated(model.name for model in models):
            raise ValueError(f"a model is listed twice: {repeated}")
        return models

    @field_validator("LLM_PROVIDERS")
    @classmethod
    def _check_providers(cls, providers: list[ProviderSetting]) -> list[ProviderSetting]:
        if repeated := _repeated(provider.name for provider in providers):
            raise ValueError(f"a provider is listed twice: {repeated}")
        if any(provider.name == DEFAULT_PROVIDER for provider in providers):
            raise ValueError(f"{DEFAULT_PROVIDER}: is the name of the provider that OPENAI_BASE_URL sets")
        return providers

    @field_validator("OPENAI_API_KEY")
    @classmethod
    def _check_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            check_key(key.get_secret_value())
        return key

    @field_validator("OPENAI_BASE_URL")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        return None if url is None else check_base_url(url)

    @model_validator(mode="after")
    def _check_timeouts(self) -> Self:
        if self.LLM_ATTEMPT_TIMEOUT > self.LLM_TURN_TIMEOUT:
            raise ValueError("LLM_ATTEMPT_TIMEOUT: must not exceed LLM_TURN_TIMEOUT")
        for setting, entries in (("LLM_PROVIDERS", self.LLM_PROVIDERS), ("LLM_MODELS", self.LLM_MODELS)):
            for entry in entries:
                if (entry.attempt_timeout or 0) > self.LLM_TURN_TIMEOUT:
                    raise ValueError(f"{setting}: {entry.name}: attempt_timeout: must not exceed LLM_TURN_TIMEOUT")
        return self

    @model_validator(mode="after")
    def _check_provider_names(self) -> Self:
        names = {DEFAULT_PROVIDER, *(provider.name for provider in self.providers())}
        for model in self.LLM_MODELS:
            if model.provider is not None and model.provider not in names:
                raise ValueError(f"LLM_MODELS: {model.name}: there is no provider {model.provider[:50]}")
        return self

    @property
    def fallback_models(self) -> tuple[str, ...]:
        """Names in `LLM_FALLBACK_MODEL`, in order."""
        return tuple(name for part in self.LLM_FALLBACK_MODEL.split(",") if (name := part.strip()))

    def model_providers(self) -> dict[str, str]:
        """Return the names of the providers of all models, by model. No key is read."""
        is_simple = self.OPENAI_API_KEY is not None or self.OPENAI_BASE_URL is not None or not self.LLM_PROVIDERS
        default = DEFAULT_PROVIDER if is_simple else self.LLM_PROVIDERS[0].name
        named = {model.name: model.provider or default for model in self.LLM_MODELS}
        return dict.fromkeys((self.LLM_MODEL, *self.fallback_models), default) | named

    def providers(self) -> tuple[Provider, ...]:
        """Return all providers with their keys, the default one first. Keys are read from the environment and files.

        Raises:
            ValueError: a key is missing, or cannot be sent.

        """
        providers = []
        if self.OPENAI_API_KEY is not None or self.OPENAI_BASE_URL is not None:
            default = ProviderSetting(name=DEFAULT_PROVIDER, base_url=self.OPENAI_BASE_URL)
            providers.append(resolve_provider(default, self.OPENAI_API_KEY))
        for setting in self.LLM_PROVIDERS:
            try:
                providers.append(resolve_provider(setting))
            except ValueError as error:
                raise ValueError(f"LLM_PROVIDERS: {setting.name}: {error}") from None
        return tuple(providers)


def _repeated(names: Iterable[str]) -> str | None:
    """Return a name that occurs more than once. None: there is none."""
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
