"""Request and response schemas of the administration of shared conversations."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from app.core.schema_types import RequestModel, ResponseModel


class ShareQuery(RequestModel):
    """Filter and position of a page of shares, the newest link first."""

    user: UUID | None = Field(None, description="Account that owns the session.")
    after: UUID | None = Field(None, description="`next` of the previous page.")
    limit: int = Field(50, ge=1, le=200)


class ShareFacts(ResponseModel):
    """Shared conversation without its text and its link."""

    id: UUID
    user_id: UUID
    session_id: UUID
    message_count: int
    include_models: bool
    created_at: datetime = Field(description="Time of the snapshot.")
    expires_at: datetime | None


class SharePage(ResponseModel):
    """Page of shares, the newest link first."""

    shares: list[ShareFacts]
    next: UUID | None = Field(description="Value of `after` for the next page. Null: this is the last page.")
