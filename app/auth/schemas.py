"""What the auth service takes and gives."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    MISSING,
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from app.auth.validators import (
    EmailAddress,
    FullName,
    GivenPassword,
    MailedToken,
    NewPassword,
    Role,
    Username,
    normalize_login,
)
from app.core.types import JsonObject, Pagination, RequestModel, ResponseModel, Storable


class UserCreate(RequestModel):
    """A registration. Role and state are not the client's to choose."""

    email: EmailAddress = Field(examples=["ada@example.com"])
    username: Username = Field(examples=["ada"])
    password: NewPassword = Field(examples=["correct horse battery staple"], description="8 to 256 characters.")
    full_name: FullName | None = Field(None, examples=["Ada Lovelace"])


class LoginForm(RequestModel):
    """The OAuth2 password form (RFC 6749, section 4.3.2). `username` takes an address or a user name."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Literal["password"] | None = Field(None, examples=["password"])
    username: Annotated[
        str,
        StringConstraints(min_length=1, max_length=254),
        Storable,
        AfterValidator(normalize_login),
    ] = Field(examples=["ada@example.com"])
    password: GivenPassword = Field(repr=False, examples=["correct horse battery staple"])


class RefreshRequest(RequestModel):
    """A refresh token to exchange (RFC 6749, section 6)."""

    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=200), Storable] = Field(
        repr=False, examples=["AZqrOg3PfXq1jvYH7oSx..."]
    )


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


class MailRequest(RequestModel):
    """The address that a mail shall go to."""

    email: EmailAddress = Field(examples=["ada@example.com"])


class PasswordReset(RequestModel):
    """Another password, by a link in a mail."""

    token: MailedToken
    new_password: NewPassword = Field(examples=["correct horse battery staple"], description="8 to 256 characters.")


class EmailVerification(RequestModel):
    """Proof that mail to the account's address arrives."""

    token: MailedToken


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


class TokenResponse(ResponseModel):
    """A login (RFC 6749, section 5.1)."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the protocol's word
    expires_in: int = Field(description="Seconds until the access token expires.")


Scope = Literal["chat:read", "chat:write"]


class ApiKeyCreate(RequestModel):
    """A new key for a program."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Storable] = Field(
        examples=["nightly report"]
    )
    scopes: set[Scope] = Field(
        min_length=1,
        examples=[["chat:read"]],
        description="`chat:read` lists and reads conversations, `chat:write` asks, changes and deletes.",
    )
    expires_in_days: int | None = Field(
        None, strict=True, ge=1, le=365, examples=[90], description="Left out: it is good until it is deleted."
    )


class ApiKeyResponse(ResponseModel):
    """A key, without what is secret of it."""

    id: UUID = Field(validation_alias="uuid")
    name: str
    prefix: str = Field(description="The key's first characters, to recognise it by.")
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None = Field(description="`null`: never.")
    last_used_at: datetime | None = Field(description="To the minute.")


class ApiKeyCreated(ApiKeyResponse):
    """A new key. This is the only time that it is shown."""

    key: str = Field(description="Send it as a bearer token to the chat service.")


class ApiKeyList(ResponseModel):
    """A page of keys, newest first."""

    api_keys: list[ApiKeyResponse]
    pagination: Pagination


class LoginResponse(ResponseModel):
    """A device that is logged in."""

    id: UUID = Field(validation_alias="uuid")
    created_at: datetime
    last_used_at: datetime = Field(description="When its tokens were renewed last.")
    expires_at: datetime = Field(description="When it ends unless it is used before.")
    user_agent: str | None
    ip: str | None
    is_current: bool = Field(description="Whether this request came with it.")


class LoginList(ResponseModel):
    """A page of the caller's logins."""

    sessions: list[LoginResponse]
    pagination: Pagination


class Done(ResponseModel):
    """A confirmation, for people."""

    message: str


class RegistrationAccepted(ResponseModel):
    """The answer to every registration where addresses must be verified: the rest comes by mail."""

    message: str = "Check your mail to go on."


class AccountErasure(RequestModel):
    """Proof that it is the owner who erases the account."""

    password: GivenPassword = Field(repr=False, examples=["correct horse battery staple"])


class RemovedItem(ResponseModel):
    """Data that is gone."""

    store: Literal["postgresql", "redis"]
    what: str = Field(description="The table, or the kind of copy.")
    count: int


class ExpiringItem(ResponseModel):
    """Copies that could not be removed now."""

    store: Literal["redis"]
    what: str
    reason: str


class KeptItem(ResponseModel):
    """Data that stays."""

    store: Literal["postgresql"]
    what: str
    count: int
    reason: str


class ErasureReceipt(ResponseModel):
    """What became of everything that was held about an account."""

    erased_at: datetime
    removed: list[RemovedItem]
    expiring: list[ExpiringItem] = Field(description="Empty, unless Redis was away.")
    kept: list[KeptItem]
