"""Request and response schemas of operations on many sessions."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import MISSING, BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from app.core.schema_types import RequestModel, ResponseModel


def _require_true(value: object) -> object:
    if value is not True:  # a literal alone would take 1, which is equal
        raise ValueError("must be true")
    return value


OnlyTrue = Annotated[Literal[True], BeforeValidator(_require_true)]


class SessionSelection(RequestModel):
    """Sessions of the user: those with the given ids, or all."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"session_ids": ["0199c2f0-7c5e-7a3b-9b1e-3f5a6c7d8e90"]}]}
    )

    session_ids: list[UUID] | MISSING = Field(
        MISSING, min_length=1, max_length=1000, description="Ids of sessions, 1 to 1000."
    )
    all: OnlyTrue | MISSING = Field(
        MISSING, description="All sessions, archived ones included, that exist when the request arrives."
    )

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if ("session_ids" in self.model_fields_set) is ("all" in self.model_fields_set):
            raise ValueError("either session_ids or all")
        return self

    @property
    def ids(self) -> list[UUID] | None:
        """The given ids, without duplicates. None: all sessions."""
        return list(dict.fromkeys(self.session_ids)) if isinstance(self.session_ids, list) else None


class SessionArchiving(SessionSelection):
    """Sessions to archive, or to return to the list."""

    archived: StrictBool = Field(default=True, description="`false`: return archived sessions to the list.")


class SessionsChanged(ResponseModel):
    """Result of an operation on many sessions."""

    changed: int = Field(description="Sessions that were deleted, or whose state has changed.")
    not_found: list[UUID] = Field(description="Ids of which the user has no session.")
    is_complete: bool = Field(
        description="False: there may be more sessions than one request changes. Send it again for the rest."
    )
