"""Schemas of API keys."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    Field,
    StringConstraints,
)

from app.core.schema_types import DisplayText, Integral, Pagination, RequestModel, ResponseModel

Scope = Literal["chat:read", "chat:write", "chat:completions"]


class ApiKeyCreate(RequestModel):
    """A new API key."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), DisplayText] = Field(
        examples=["nightly report"], description="Name by which the owner recognizes the key."
    )
    scopes: set[Scope] = Field(
        min_length=1,
        json_schema_extra={"uniqueItems": False},  # duplicates are ignored
        examples=[["chat:read"]],
        description="`chat:read` lists and reads conversations, `chat:write` asks questions, updates and deletes, "
        "`chat:completions` uses the OpenAI-compatible API under `/v1`.",
    )
    expires_in_days: Annotated[int, Field(strict=True, ge=1, le=365), Integral] | None = Field(
        None, examples=[90], description="Days until it expires. Left out: the key is valid until it is deleted."
    )


class ApiKeyResponse(ResponseModel):
    """An API key without its secret part."""

    id: UUID = Field(validation_alias="uuid", description="Public id.")
    name: str = Field(description="Name that the owner gave the key.")
    prefix: str = Field(description="First characters of the key, to recognise it.")
    scopes: list[Scope] = Field(description="Permitted operations.")
    created_at: datetime = Field(description="Time of creation.")
    expires_at: datetime | None = Field(description="`null`: the key does not expire.")
    last_used_at: datetime | None = Field(description="Time of the last use, accurate to the minute. Null: never used.")


class ApiKeyCreated(ApiKeyResponse):
    """A new API key. No other response contains the key itself."""

    key: str = Field(description="Send it as a bearer token to the chat service.")


class ApiKeyList(ResponseModel):
    """A page of API keys, newest first."""

    api_keys: list[ApiKeyResponse] = Field(description="API keys of the page.")
    pagination: Pagination = Field(description="Position of the page.")
