"""Models that a client may name."""

from decimal import Decimal

from pydantic import Field

from app.core.types import ResponseModel


class ModelResponse(ResponseModel):
    """A model that may be asked."""

    name: str
    is_default: bool = Field(description="Whether it answers where a question names none.")
    is_fallback: bool = Field(description="Whether it answers where the model asked for cannot.")
    context_window: int = Field(description="Tokens that it can look at in one request.")
    prompt_price: Decimal | None = Field(description="US dollars for a million tokens. Null: not known.")
    completion_price: Decimal | None = Field(description="The same for the tokens of an answer.")


class ModelList(ResponseModel):
    """The models that may be asked, the default first."""

    models: list[ModelResponse]
    max_tokens: int = Field(description="Most tokens of one answer.")
