"""Verification of addresses and password reset."""

from pydantic import (
    Field,
)

from app.auth.validators import (
    EmailAddress,
    MailedToken,
    NewPassword,
)
from app.core.types import RequestModel


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
