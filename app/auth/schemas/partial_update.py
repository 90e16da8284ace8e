"""Base class of partial updates."""

from typing import Self

from pydantic import ConfigDict, model_validator

from app.core.schema_types import RequestModel


class PartialUpdate(RequestModel):
    """Base class of partial updates: each field is optional, at least one is required."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _require_one_field(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must contain at least one field")
        return self
