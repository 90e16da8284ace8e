"""Schemas of invitations."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from app.auth.validators import EmailAddress, FullName, Role
from app.core.schema_types import Pagination, RequestModel, ResponseModel


class InvitationCreate(RequestModel):
    """An invitation to register, which is sent to the address."""

    email: EmailAddress = Field(examples=["grace@example.com"])
    role: Role = Field("user", examples=["user"], description="Role of the account.")
    full_name: FullName | None = Field(
        None, examples=["Grace Hopper"], description="Name of the account, unless the owner enters another one."
    )


class InvitationResponse(ResponseModel):
    """An open invitation."""

    id: UUID = Field(validation_alias="uuid")
    email: str
    role: Role
    full_name: str | None
    created_at: datetime
    expires_at: datetime


class InvitationList(ResponseModel):
    """A page of open invitations, newest first."""

    invitations: list[InvitationResponse]
    pagination: Pagination
