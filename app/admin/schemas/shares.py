"""Request and response schemas of the administration of shared conversations."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from app.core.schema_types import RequestModel, ResponseModel


class ShareQuery(RequestModel):
    """Filter and position of a page of shares, the newest link first."""

    user: UUID | None = Field(None, description="Account that owns the session.")
    after: UUID | None = Field(None, description="`next` of the previous page.")
    limit: int = Field(50, ge=1, le=200, description="Maximum number of items of the page.")


class ShareFacts(ResponseModel):
    """Shared conversation without its text and its link."""

    id: UUID = Field(description="Id of the share.")
    user_id: UUID = Field(description="Account that owns the session.")
    session_id: UUID = Field(description="Shared session.")
    message_count: int = Field(description="Number of messages.")
    include_models: bool = Field(description="Whether readers see the models.")
    created_at: datetime = Field(description="Time of the snapshot.")
    expires_at: datetime | None = Field(description="Time from which the link does not work. Null: it does not expire.")


class SharePage(ResponseModel):
    """Page of shares, the newest link first."""

    shares: list[ShareFacts] = Field(description="Shared conversations of the page.")
    next: UUID | None = Field(description="Value of `after` for the next page. Null: this is the last page.")
