"""API keys."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    Field,
    StringConstraints,
)

from app.core.types import Pagination, RequestModel, ResponseModel, Storable

Scope = Literal["chat:read", "chat:write"]


class ApiKeyCreate(RequestModel):
    """A new key for a program."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Storable] = Field(
        examples=["nightly report"]
    )
    scopes: set[Scope] = Field(
        min_length=1,
        examples=[["chat:read"]],
        description="`chat:read` lists and reads conversations, `chat:write` asks, changes and deletes.",
    )
    expires_in_days: int | None = Field(
        None, strict=True, ge=1, le=365, examples=[90], description="Left out: it is good until it is deleted."
    )


class ApiKeyResponse(ResponseModel):
    """A key, without what is secret of it."""

    id: UUID = Field(validation_alias="uuid")
    name: str
    prefix: str = Field(description="The key's first characters, to recognise it by.")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None = Field(description="`null`: never.")
    last_used_at: datetime | None = Field(description="To the minute.")


class ApiKeyCreated(ApiKeyResponse):
    """A new key. This is the only time that it is shown."""

    key: str = Field(description="Send it as a bearer token to the chat service.")


class ApiKeyList(ResponseModel):
    """A page of keys, newest first."""

    api_keys: list[ApiKeyResponse]
    pagination: Pagination
