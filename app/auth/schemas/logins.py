"""Schemas of logins and tokens."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from app.auth.validators import (
    SubmittedPassword,
    normalize_login,
)
from app.core.schema_types import Pagination, RequestModel, ResponseModel, Storable


class LoginForm(RequestModel):
    """The OAuth2 password form (RFC 6749, section 4.3.2). `username` is an email address or a user name."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Literal["password"] | None = Field(None, examples=["password"])
    username: Annotated[
        str,
        StringConstraints(min_length=1, max_length=254),
        Storable,
        AfterValidator(normalize_login),
    ] = Field(examples=["ada@example.com"])
    password: SubmittedPassword = Field(repr=False, examples=["correct horse battery staple"])


class RefreshRequest(RequestModel):
    """A refresh token to exchange (RFC 6749, section 6)."""

    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=200), Storable] = Field(
        repr=False, examples=["AZqrOg3PfXq1jvYH7oSx..."]
    )


class TokenResponse(ResponseModel):
    """Tokens of a login (RFC 6749, section 5.1)."""

    access_token: str
    refresh_token: str | None = Field(description="`null` if it is sent as a cookie (`X-Refresh-Transport: cookie`).")
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - a term of OAuth 2.0, not a password
    expires_in: int = Field(description="Seconds until the access token expires.")


class LoginResponse(ResponseModel):
    """A login of one device."""

    id: UUID = Field(validation_alias="uuid")
    created_at: datetime
    last_used_at: datetime = Field(description="Time of the last token refresh.")
    expires_at: datetime = Field(description="Time at which the login ends unless its tokens are refreshed before.")
    user_agent: str | None
    ip: str | None
    is_current: bool = Field(description="Whether this request was authenticated by it.")


class LoginList(ResponseModel):
    """A page of the caller's logins."""

    sessions: list[LoginResponse]
    pagination: Pagination
