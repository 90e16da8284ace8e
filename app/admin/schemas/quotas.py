"""Request schema of quota changes."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from app.core.schema_types import Integral, RequestModel, refuse_boolean

Tokens = Annotated[int, Field(strict=True, ge=0, le=10**15), Integral]
CostLimit = Annotated[
    Decimal,
    Field(ge=0, le=1_000_000, decimal_places=9, allow_inf_nan=False),
    BeforeValidator(refuse_boolean),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1_000_000},
                {"type": "string", "pattern": r"^(\d{1,6}(\.\d{1,9})?|1000000)$"},
            ]
        }
    ),
]


class QuotaUpdate(RequestModel):
    """Changes of an account's own quotas. Omitted fields are not changed. `null`: the default quota; 0: no limit."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    tokens_per_day: Tokens | None = Field(
        None, examples=[200_000], description="Tokens per day in UTC. Null: the default of the settings; 0: no limit."
    )
    tokens_per_month: Tokens | None = Field(
        None,
        examples=[2_000_000],
        description="Tokens per month in UTC. Null: the default of the settings; 0: no limit.",
    )
    cost_per_day: CostLimit | None = Field(
        None,
        examples=["2.50"],
        description="US dollars per day in UTC. Null: the default of the settings; 0: no limit.",
    )
    cost_per_month: CostLimit | None = Field(
        None,
        examples=["20"],
        description="US dollars per month in UTC. Null: the default of the settings; 0: no limit.",
    )

    @model_validator(mode="after")
    def _require_one_field(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must contain at least one field")
        return self
