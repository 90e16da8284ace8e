"""A model in `LLM_MODELS`: its provider, its limits and prices, and how requests to it look."""

import json
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import to_json

from app.config.base import Dollars, Seconds

Price = Dollars
"""US dollars per million tokens."""
Capability = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,29}$")]
"""What a model can do, such as `vision`, `tools`, `reasoning` or `json`."""
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]
SystemRole = Literal["system", "developer", "user"]

_MAX_EXTRA_FIELDS: Final = 50
_MAX_TEMPERATURE: Final = 2
_SET_BY_THE_SERVICE: Final = frozenset({"messages", "model", "n", "stream"})
"""Fields of a request that `extra_body` must not replace."""


def _read_temperature(value: object) -> object:
    """Return a temperature; "none" for `false`.

    Raises:
        ValueError: it is neither a number from 0 to 2 nor `false`.

    """
    if value is False or value == "none":
        return "none"
    if value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_TEMPERATURE
    ):
        return value
    raise ValueError("must be a number from 0 to 2, or false")


class ModelSetting(BaseModel):
    """A model that clients may request, in `LLM_MODELS`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[^\s,](.*[^\s,])?$", max_length=200)
    provider: str | None = Field(None, max_length=50)
    """Name of a provider. None: the default one."""
    provider_model: str | None = Field(None, pattern=r"^\S(.*\S)?$", max_length=200)
    """The provider's name of the model. None: `name`."""
    display_name: str | None = Field(None, min_length=1, max_length=100)
    description: str | None = Field(None, min_length=1, max_length=500)
    capabilities: tuple[Capability, ...] = Field((), max_length=20)
    context_window: int | None = Field(None, ge=1, le=100_000_000)
    max_output_tokens: int | None = Field(None, ge=1, le=1_000_000)
    """Maximum number of tokens of one answer, if it is smaller than `LLM_MAX_TOKENS`."""
    prompt_price: Price | None = None
    completion_price: Price | None = None
    max_tokens_field: MaxTokensField | None = None
    """Name of the token limit in a request. None: that of the provider."""
    temperature: Annotated[float | Literal["none"] | None, BeforeValidator(_read_temperature)] = None
    """Temperature of requests without one. `none`: none is sent. None: `LLM_TEMPERATURE`."""
    system_role: SystemRole = "system"
    """Role of the instructions. `user`: they are a part of the first question."""
    stream_usage: bool = True
    """Whether the token counts of a streamed answer are requested with `stream_options`."""
    reasoning_effort: str | None = Field(None, pattern=r"^[a-z]{1,20}$")
    starts_with_reasoning: bool = False
    """Whether the text begins with reasoning up to a `</think>`, because the prompt template contains `<think>`."""
    extra_body: dict[str, Any] = Field({}, max_length=_MAX_EXTRA_FIELDS)
    """Other fields of every request."""
    attempt_timeout: Seconds | None = None
    """Timeout of an attempt in seconds. None: that of the provider."""

    @field_validator("name", "provider_model")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is not None and not name.isprintable():
            raise ValueError("must not contain control characters")
        return name

    @field_validator("display_name", "description")
    @classmethod
    def _check_text(cls, text: str | None) -> str | None:
        if text is not None and (text != text.strip() or not text.replace("\n", " ").isprintable()):
            raise ValueError("must have neither white space around it nor control characters")
        return text

    @field_validator("capabilities")
    @classmethod
    def _check_capabilities(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names))

    @field_validator("extra_body")
    @classmethod
    def _check_extra_body(cls, fields: dict[str, Any]) -> dict[str, Any]:
        if names := _SET_BY_THE_SERVICE & fields.keys():
            raise ValueError(f"must not contain {', '.join(sorted(names))}")
        try:
            json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
            to_json({"extra_body": fields})  # as requests are serialized, which limits the depth
        except (ValueError, RecursionError):
            raise ValueError(
                "must not contain NaN, Infinity, unpaired surrogates or values nested too deeply"
            ) from None
        return fields

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        if (self.prompt_price is None) is not (self.completion_price is None):
            raise ValueError("prompt_price and completion_price: both or none")
        return self

    def prices(self) -> tuple[Decimal, Decimal] | None:
        """Return the prices of prompt and completion. None: they are not set."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        return self.prompt_price, self.completion_price
