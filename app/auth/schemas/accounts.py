"""Accounts and profiles."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import (
    MISSING,
    ConfigDict,
    Field,
    StrictBool,
    model_validator,
)

from app.auth.validators import (
    EmailAddress,
    FullName,
    GivenPassword,
    NewPassword,
    Role,
    Username,
)
from app.core.types import JsonObject, Pagination, RequestModel, ResponseModel


class UserCreate(RequestModel):
    """A registration. Role and state are not the client's to choose."""

    email: EmailAddress = Field(examples=["ada@example.com"])
    username: Username = Field(examples=["ada"])
    password: NewPassword = Field(examples=["correct horse battery staple"], description="8 to 256 characters.")
    full_name: FullName | None = Field(None, examples=["Ada Lovelace"])


class PasswordChange(RequestModel):
    """Another password for the caller's account."""

    current_password: GivenPassword = Field(repr=False, examples=["old horse battery staple"])
    new_password: NewPassword = Field(examples=["correct horse battery staple"], description="8 to 256 characters.")


class _Change(RequestModel):
    """Base of changes to what exists. Each field may be left out, but not all of them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _refuse_nothing(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one field")
        return self


class ProfileUpdate(_Change):
    """What an owner may change of an account. What is left out stays as it is."""

    full_name: FullName | MISSING | None = Field(MISSING, examples=["Ada King"], description="`null` clears it.")
    username: Username | MISSING = Field(MISSING, examples=["ada"])
    preferences: JsonObject | MISSING = Field(
        MISSING,
        examples=[{"theme": "dark"}],
        description="At most 8 KiB of JSON. Replaces what was stored, as a whole.",
    )


class _Account(ResponseModel):
    """What owners and admins see of an account."""

    id: UUID = Field(validation_alias="uuid")
    email: str
    username: str
    full_name: str | None
    role: Role
    is_active: bool
    is_verified: bool
    created_at: datetime
    last_login: datetime | None


class UserResponse(_Account):
    """An account, as its owner sees it."""

    preferences: dict[str, Any] = Field(description="Settings of the owner's clients. Nobody else sees them.")


class AdminUserUpdate(_Change):
    """What an admin changes of an account. What is absent stays as it is."""

    role: Role | MISSING = Field(MISSING, examples=["admin"])
    is_active: StrictBool | MISSING = Field(
        MISSING, examples=[False], description="False ends every login of the account for good."
    )
    is_verified: StrictBool | MISSING = Field(MISSING, examples=[True])
    full_name: FullName | MISSING | None = Field(MISSING, examples=["Ada King"], description="`null` clears it.")


class AdminUserResponse(_Account):
    """An account, as admins see it."""

    updated_at: datetime = Field(description="The last change; a login counts.")


class AdminUserList(ResponseModel):
    """A page of accounts, newest first."""

    users: list[AdminUserResponse]
    pagination: Pagination


class Done(ResponseModel):
    """A confirmation, for people."""

    message: str


class RegistrationAccepted(ResponseModel):
    """The answer to every registration where addresses must be verified: the rest comes by mail."""

    message: str = "Check your mail to go on."
