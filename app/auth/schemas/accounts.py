"""Schemas of accounts and profiles."""

from datetime import datetime
from uuid import UUID

from pydantic import MISSING, ConfigDict, Field, StrictBool

from app.auth.schemas.partial_update import PartialUpdate
from app.auth.schemas.preferences import Preferences, PreferencesObject
from app.auth.validators import (
    FullName,
    LinkToken,
    NewEmailAddress,
    NewPassword,
    Role,
    SubmittedPassword,
    Username,
)
from app.core.schema_types import Pagination, RequestModel, ResponseModel


class UserCreate(RequestModel):
    """A registration. Clients cannot choose the role or the state."""

    # Without an invitation, which documentation pages could only invent.
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "email": "grace@example.com",
                    "username": "grace",
                    "password": "correct horse battery staple",
                    "full_name": "Grace Hopper",
                }
            ]
        }
    )

    email: NewEmailAddress = Field(examples=["grace@example.com"], description="Email address of the new account.")
    username: Username = Field(
        examples=["grace"],
        description="Name for the login: 3 to 50 letters, digits, `.`, `_`, `-`; starts with a letter or digit.",
    )
    password: NewPassword = Field(
        examples=["correct horse battery staple"],
        description="8 to 256 characters, none of the most common passwords.",
    )
    full_name: FullName | None = Field(None, examples=["Grace Hopper"], description="Full name.")
    invitation: LinkToken | None = Field(
        None,
        repr=False,
        examples=["AaIp9YzhdmGOjp06gMygvOKm..."],
        description="Token of an invitation, from its link. It is valid for the invited address only.",
    )


class PasswordChange(RequestModel):
    """A new password for the caller's account."""

    current_password: SubmittedPassword = Field(
        repr=False, examples=["correct horse battery staple"], description="The current password."
    )
    new_password: NewPassword = Field(
        examples=["another horse battery staple"],
        description="8 to 256 characters, none of the most common passwords.",
    )


class ProfileUpdate(PartialUpdate):
    """An update by the account's owner. Fields that are left out stay unchanged."""

    full_name: FullName | MISSING | None = Field(MISSING, examples=["Ada King"], description="`null` clears it.")
    username: Username | MISSING = Field(MISSING, examples=["ada"], description="New user name.")
    preferences: PreferencesObject | MISSING = Field(
        MISSING,
        examples=[{"theme": "dark"}],
        description="At most 8 KiB of JSON. Replaces the stored object as a whole. Fields of `PUT /preferences` must "
        "be valid; other clients may store fields of their own.",
    )


class _Account(ResponseModel):
    """Fields of an account that owners and admins see."""

    id: UUID = Field(validation_alias="uuid", description="Public id.")
    email: str = Field(description="Email address.")
    username: str = Field(description="User name.")
    full_name: str | None = Field(description="Full name. Null: none.")
    role: Role = Field(description="Role of the account.")
    is_active: bool = Field(description="False: the account is disabled.")
    is_verified: bool = Field(description="Whether the email address is verified.")
    created_at: datetime = Field(description="Time of creation.")
    last_login: datetime | None = Field(description="Time of the last login. Null: never.")


class UserResponse(_Account):
    """An account, as its owner sees it."""

    preferences: Preferences = Field(description="Settings of the owner's clients, visible to the owner only.")


class AdminUserUpdate(PartialUpdate):
    """An update by an admin. Fields that are left out stay unchanged."""

    role: Role | MISSING = Field(
        MISSING, examples=["admin"], description="New role; it applies from the next request of the account."
    )
    is_active: StrictBool | MISSING = Field(
        MISSING, examples=[False], description="False ends all logins of the account permanently."
    )
    is_verified: StrictBool | MISSING = Field(
        MISSING, examples=[True], description="Whether the email address counts as verified."
    )
    full_name: FullName | MISSING | None = Field(MISSING, examples=["Ada King"], description="`null` clears it.")


class AdminUserResponse(_Account):
    """An account, as admins see it."""

    updated_at: datetime = Field(description="Time of the last change; a login is a change.")


class AdminUserList(ResponseModel):
    """A page of accounts, newest first."""

    users: list[AdminUserResponse] = Field(description="Accounts of the page.")
    pagination: Pagination = Field(description="Position of the page.")


class Done(ResponseModel):
    """Confirmation of a completed operation."""

    message: str = Field(description="Human-readable confirmation.")


class RegistrationAccepted(ResponseModel):
    """Response to a registration without an invitation if addresses must be verified; the result is sent by email."""

    message: str = Field("Check your email to continue.", description="The same for free and registered addresses.")
