"""Schemas of invitations."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from app.auth.validators import FullName, NewEmailAddress, Role
from app.core.schema_types import Pagination, RequestModel, ResponseModel


class InvitationCreate(RequestModel):
    """An invitation to register, which is sent to the address."""

    email: NewEmailAddress = Field(examples=["grace@example.com"], description="Address to invite.")
    role: Role = Field("user", examples=["user"], description="Role of the account.")
    full_name: FullName | None = Field(
        None, examples=["Grace Hopper"], description="Name of the account, unless the owner enters another one."
    )


class InvitationResponse(ResponseModel):
    """An open invitation."""

    id: UUID = Field(validation_alias="uuid", description="Public id.")
    email: str = Field(description="The only address that may register with it.")
    role: Role = Field(description="Role of the account.")
    full_name: str | None = Field(description="Name of the account, unless the owner enters another one. Null: none.")
    created_at: datetime = Field(description="Time of creation.")
    expires_at: datetime = Field(description="Time from which the invitation cannot be used.")


class InvitationList(ResponseModel):
    """A page of open invitations, newest first."""

    invitations: list[InvitationResponse] = Field(description="Invitations of the page.")
    pagination: Pagination = Field(description="Position of the page.")
