"""Schemas of logins and tokens."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
)

from app.auth.validators import LoginName, SubmittedPassword
from app.core.schema_types import Pagination, RequestModel, ResponseModel, Storable


class LoginForm(RequestModel):
    """The OAuth2 password form (RFC 6749, section 4.3.2). `username` is an email address or a user name."""

    model_config = ConfigDict(extra="ignore")

    grant_type: Literal["password"] | None = Field(None, examples=["password"], description="`password`, or left out.")
    username: LoginName = Field(examples=["ada@example.com"], description="User name or email address.")
    password: SubmittedPassword = Field(
        repr=False, examples=["correct horse battery staple"], description="Password of the account."
    )


class RefreshRequest(RequestModel):
    """A refresh token to exchange (RFC 6749, section 6)."""

    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=200), Storable] = Field(
        repr=False, examples=["AZqrOg3PfXq1jvYH7oSx..."], description="The refresh token of the last response."
    )


class TokenResponse(ResponseModel):
    """Tokens of a login (RFC 6749, section 5.1)."""

    access_token: str = Field(description="Access token: a JWT for the header `Authorization`.")
    refresh_token: str | None = Field(description="`null` if it is sent as a cookie (`X-Refresh-Transport: cookie`).")
    token_type: Literal["bearer"] = Field("bearer", description="Always `bearer`.")
    expires_in: int = Field(description="Seconds until the access token expires.")


class LoginResponse(ResponseModel):
    """A login of one device."""

    id: UUID = Field(validation_alias="uuid", description="Public id.")
    created_at: datetime = Field(description="Time of the login.")
    last_used_at: datetime = Field(description="Time of the last token refresh; before the first one, of the login.")
    expires_at: datetime = Field(description="Time at which the login ends unless its tokens are refreshed before.")
    user_agent: str | None = Field(description="`User-Agent` of the client at the login. Null: it sent none.")
    ip: str | None = Field(description="IP address of the client at the login. Null: not known.")
    is_current: bool = Field(description="Whether this request was authenticated by it.")


class LoginList(ResponseModel):
    """A page of the caller's logins."""

    sessions: list[LoginResponse] = Field(description="Logins of the page.")
    pagination: Pagination = Field(description="Position of the page.")
