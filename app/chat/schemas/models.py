"""Models that a client may request."""

from decimal import Decimal

from pydantic import Field

from app.core.schema_types import ResponseModel


class ModelResponse(ResponseModel):
    """A model that a question may request."""

    name: str = Field(description="Name in requests.")
    display_name: str = Field(description="Name for pages.")
    description: str | None = Field(description="Description of the model for users. Null: none.")
    provider: str = Field(description="Provider of the model; `default`: the one of the simple settings.")
    capabilities: list[str] = Field(description="What the model can do, such as `vision`, `tools` or `reasoning`.")
    is_default: bool = Field(description="Whether it is used when a question requests no model.")
    is_fallback: bool = Field(description="Whether it is used when the requested model fails.")
    context_window: int = Field(description="Maximum number of tokens of prompt and answer together.")
    max_output_tokens: int = Field(description="Maximum number of tokens of one answer of this model.")
    prompt_price: Decimal | None = Field(description="US dollars per million prompt tokens. Null: unknown.")
    completion_price: Decimal | None = Field(description="US dollars per million completion tokens. Null: unknown.")


class ModelList(ResponseModel):
    """Models that a question may request, the default model first."""

    models: list[ModelResponse] = Field(description="The models, the default one first.")
    max_tokens: int = Field(description="Maximum number of tokens of one answer.")
