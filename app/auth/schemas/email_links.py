"""Schemas of email verification and password reset."""

from pydantic import (
    Field,
)

from app.auth.validators import (
    EmailAddress,
    MailedToken,
    NewPassword,
)
from app.core.schema_types import RequestModel


class MailRequest(RequestModel):
    """The address to which an email is requested."""

    email: EmailAddress = Field(examples=["ada@example.com"], description="Address that the email is sent to.")


class PasswordReset(RequestModel):
    """A new password, authorized by the token of a reset link."""

    token: MailedToken = Field(description="Token of the link in the email.")
    new_password: NewPassword = Field(
        examples=["correct horse battery staple"],
        description="8 to 256 characters, none of the most common passwords.",
    )


class EmailVerification(RequestModel):
    """The token of a verification link."""

    token: MailedToken = Field(description="Token of the link in the email.")
