"""Shared conversations."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool

from app.chat.schemas.sessions import Title
from app.core.schema_types import Pagination, RequestModel, ResponseModel
from app.database.repositories.turns.turns import FinalStatus


class ShareCreate(RequestModel):
    """Options of a link."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Holiday plans", "expires_in_days": 30}]})

    message_id: UUID | None = Field(
        None, description="Last message to share. Default: the last message of the session's branch."
    )
    title: Title | None = Field(
        None, examples=["Holiday plans"], description="Title that readers see. Default: that of the session."
    )
    include_models: StrictBool = Field(
        default=False, examples=[True], description="Whether readers see which model wrote each answer."
    )
    expires_in_days: int | None = Field(
        None, strict=True, ge=1, le=3650, examples=[30], description="Default: the link does not expire."
    )
    keep_link: StrictBool = Field(
        default=False,
        examples=[True],
        description="If the session is shared already: whether its link shows the new snapshot. By default there is a "
        "new link, and the old one stops working.",
    )


class ShareResponse(ResponseModel):
    """A shared conversation of the caller."""

    id: UUID
    session_id: UUID
    token: str = Field(description="Token for `GET /shared/{token}`. Everybody who has it can read the snapshot.")
    url: str = Field(description="Link to the page of the frontend.")
    title: str
    message_count: int
    include_models: bool
    created_at: datetime = Field(description="Time of the snapshot.")
    expires_at: datetime | None


class ShareList(ResponseModel):
    """A page of the caller's shared conversations, the newest link first."""

    shares: list[ShareResponse]
    pagination: Pagination


class SharedMessage(ResponseModel):
    """A message of a shared conversation."""

    role: Literal["user", "assistant"]
    content: str
    status: FinalStatus
    timestamp: datetime
    model: str | None = Field(description="Model that wrote the answer, if the owner shared it.")


class SharedConversation(ResponseModel):
    """Snapshot of a conversation, oldest message first. Later messages are not part of it."""

    title: str
    created_at: datetime = Field(description="Time of the snapshot.")
    expires_at: datetime | None
    messages: list[SharedMessage]
