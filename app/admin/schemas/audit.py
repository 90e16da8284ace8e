"""Request and response schemas of the audit log."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from app.core.schema_types import Instant, RequestModel, ResponseModel, Storable
from app.database.repositories.audit.audit_log import AuditAction, AuditOutcome
from app.database.repositories.audit.audit_search import AuditCriteria

Cursor = Annotated[str, StringConstraints(max_length=22, pattern=r"^[A-Za-z0-9_-]{22}$"), Storable]


class AuditFilters(RequestModel):
    """Filters of audit entries. Omitted filters match all entries."""

    actor: UUID | None = Field(None, description="Account that performed the action.")
    action: AuditAction | None = Field(None, description="Recorded action.")
    target: UUID | None = Field(
        None, description="Affected object: its id, such as that of an account, a login or a key."
    )
    outcome: AuditOutcome | None = Field(None, description="`done` or `refused`.")
    from_: Instant | None = Field(
        None, alias="from", description="Start of the range, inclusive.", examples=["2026-11-01T00:00:00Z"]
    )
    to: Instant | None = Field(None, description="End of the range, exclusive.")

    def criteria(self) -> AuditCriteria:
        """Return the filters as criteria of the repository."""
        return AuditCriteria(self.actor, self.action, self.target, self.outcome, self.from_, self.to)


class AuditQuery(AuditFilters):
    """Filters and position of a page of entries, newest first."""

    after: Cursor | None = Field(None, description="`next` of the previous page.")
    limit: int = Field(50, ge=1, le=200, description="Maximum number of items of the page.")


class AuditExportQuery(AuditFilters):
    """Filters and format of an export."""

    format: Literal["csv", "jsonl"] = Field("csv", description="`jsonl`: one JSON object per line.")


class AuditEntryShown(ResponseModel):
    """Entry of the audit log."""

    created_at: datetime = Field(description="Time of the action.")
    action: str = Field(description="Recorded action.")
    outcome: AuditOutcome = Field(description="Whether the action was `done` or `refused`.")
    actor_id: UUID | None = Field(
        description="Account that performed the action. Null: an unauthenticated caller, the command line or a worker."
    )
    target_id: UUID | None = Field(
        description="Id of the affected object, such as an account, a login, a key or an endpoint. Null: none."
    )
    ip: str | None = Field(description="IP address of the client.")
    request_id: str | None = Field(description="Id of the request, as in the service's log.")
    details: dict[str, Any] = Field(
        examples=[{"changed": ["role"]}], description="Details of the action; the audit log reference lists them."
    )


class AuditPage(ResponseModel):
    """Page of audit entries, newest first."""

    entries: list[AuditEntryShown] = Field(description="Entries of the page.")
    next: str | None = Field(description="Value of `after` for the next page. Null: this is the last page.")
