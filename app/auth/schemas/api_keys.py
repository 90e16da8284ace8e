"""Schemas of API keys."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    Field,
    StringConstraints,
)

from app.core.schema_types import Pagination, RequestModel, ResponseModel, Storable

Scope = Literal["chat:read", "chat:write"]


class ApiKeyCreate(RequestModel):
    """A new API key."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Storable] = Field(
        examples=["nightly report"]
    )
    scopes: set[Scope] = Field(
        min_length=1,
        examples=[["chat:read"]],
        description="`chat:read` lists and reads conversations, `chat:write` asks questions, updates and deletes.",
    )
    expires_in_days: int | None = Field(
        None, strict=True, ge=1, le=365, examples=[90], description="Left out: the key is valid until it is deleted."
    )


class ApiKeyResponse(ResponseModel):
    """An API key without its secret part."""

    id: UUID = Field(validation_alias="uuid")
    name: str
    prefix: str = Field(description="First characters of the key, to recognise it.")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None = Field(description="`null`: the key does not expire.")
    last_used_at: datetime | None = Field(description="Accurate to the minute.")


class ApiKeyCreated(ApiKeyResponse):
    """A new API key. No other response contains the key itself."""

    key: str = Field(description="Send it as a bearer token to the chat service.")


class ApiKeyList(ResponseModel):
    """A page of API keys, newest first."""

    api_keys: list[ApiKeyResponse]
    pagination: Pagination
