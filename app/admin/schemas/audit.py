"""What the routes of the audit log take and give."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from app.core.types import Instant, RequestModel, ResponseModel, Storable
from app.database.repositories.audit.audit_log import AuditAction, AuditOutcome
from app.database.repositories.audit.search import AuditCriteria

Cursor = Annotated[str, StringConstraints(max_length=22, pattern=r"^[A-Za-z0-9_-]{22}$"), Storable]


class AuditFilters(RequestModel):
    """Which entries. What is left out may be anything."""

    actor: UUID | None = Field(None, description="Who did it: the id of an account.")
    action: AuditAction | None = None
    target: UUID | None = Field(None, description="What it was done to: the id of an account, a login or a key.")
    outcome: AuditOutcome | None = None
    from_: Instant | None = Field(None, alias="from", examples=["2026-11-01T00:00:00Z"])
    to: Instant | None = Field(None, description="The first moment that is not meant.")

    def criteria(self) -> AuditCriteria:
        """Return what is looked for."""
        return AuditCriteria(self.actor, self.action, self.target, self.outcome, self.from_, self.to)


class AuditQuery(AuditFilters):
    """A part of the entries, newest first."""

    after: Cursor | None = Field(None, description="`next` of the part before.")
    limit: int = Field(50, ge=1, le=200)


class AuditExportQuery(AuditFilters):
    """All of the entries, newest first, in a file."""

    format: Literal["csv", "jsonl"] = Field("csv", description="`jsonl`: a JSON object a line.")


class AuditEntryShown(ResponseModel):
    """Who did what."""

    created_at: datetime
    action: str
    outcome: AuditOutcome
    actor_id: UUID | None = Field(description="Null: nobody was logged in.")
    target_id: UUID | None
    ip: str | None = Field(description="Where the request came from.")
    request_id: str | None = Field(description="Finds the log lines of the request.")
    details: dict[str, Any] = Field(examples=[{"changed": ["role"]}])


class AuditPage(ResponseModel):
    """Entries, newest first."""

    entries: list[AuditEntryShown]
    next: str | None = Field(description="What `after` takes to go on. Null: there are no more.")
