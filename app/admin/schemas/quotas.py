"""Request schema of quota changes."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from app.core.schema_types import RequestModel, refuse_boolean

Tokens = Annotated[int, Field(strict=True, ge=0, le=10**15)]
CostLimit = Annotated[
    Decimal, Field(ge=0, le=1_000_000, decimal_places=9, allow_inf_nan=False), BeforeValidator(refuse_boolean)
]


class QuotaUpdate(RequestModel):
    """Changes of an account's own quotas. Omitted fields are not changed. `null`: the default quota; 0: no limit."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    tokens_per_day: Tokens | None = Field(None, examples=[200_000])
    tokens_per_month: Tokens | None = Field(None, examples=[2_000_000])
    cost_per_day: CostLimit | None = Field(None, examples=["2.50"], description="US dollars.")
    cost_per_month: CostLimit | None = Field(None, examples=["20"], description="US dollars.")

    @model_validator(mode="after")
    def _require_one_field(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must contain at least one field")
        return self
