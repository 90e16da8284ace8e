"""Shared conversations."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool

from app.chat.schemas.sessions import Title
from app.core.schema_types import Integral, Pagination, RequestModel, ResponseModel
from app.database.repositories.turns.turns import FinalStatus


class ShareCreate(RequestModel):
    """Options of a link."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"title": "Holiday plans", "expires_in_days": 30}]})

    message_id: UUID | None = Field(
        None, description="Last message to share. Default: the last message of the active branch."
    )
    title: Title | None = Field(
        None, examples=["Holiday plans"], description="Title that readers see. Default: that of the session."
    )
    include_models: StrictBool = Field(
        default=False, examples=[True], description="Whether readers see which model wrote each answer."
    )
    expires_in_days: Annotated[int, Field(strict=True, ge=1, le=3650), Integral] | None = Field(
        None, examples=[30], description="Days until the link expires. Default: it does not."
    )
    keep_link: StrictBool = Field(
        default=False,
        examples=[True],
        description="If the session is shared already: whether its link shows the new snapshot. By default there is a "
        "new link, and the old one stops working.",
    )


class ShareResponse(ResponseModel):
    """A shared conversation of the caller."""

    id: UUID = Field(description="Id of the share; a new link is a new id.")
    session_id: UUID = Field(description="Shared session.")
    token: str = Field(description="Token for `GET /shared/{token}`. Everybody who has it can read the snapshot.")
    url: str = Field(description="Link to the page of the frontend.")
    title: str = Field(description="Title that readers see.")
    message_count: int = Field(description="Number of messages.")
    include_models: bool = Field(description="Whether readers see the models.")
    created_at: datetime = Field(description="Time of the snapshot.")
    expires_at: datetime | None = Field(description="Time from which the link does not work. Null: it does not expire.")


class ShareList(ResponseModel):
    """A page of the caller's shared conversations, the newest link first."""

    shares: list[ShareResponse] = Field(description="Shared conversations of the page.")
    pagination: Pagination = Field(description="Position of the page.")


class SharedMessage(ResponseModel):
    """A message of a shared conversation."""

    role: Literal["user", "assistant"] = Field(description="`user`: a question; `assistant`: an answer.")
    content: str = Field(description="Text of the message.")
    status: FinalStatus = Field(description="Status of the message.")
    timestamp: datetime = Field(description="Time when it was stored.")
    model: str | None = Field(description="Model that wrote the answer, if the owner shared it.")


class SharedConversation(ResponseModel):
    """Snapshot of a conversation, oldest message first. Later messages are not part of it."""

    title: str = Field(description="Title that readers see.")
    created_at: datetime = Field(description="Time of the snapshot.")
    expires_at: datetime | None = Field(description="Time from which the link does not work. Null: it does not expire.")
    messages: list[SharedMessage] = Field(description="Messages, oldest first.")
