"""Texts of the emails.

They contain no text that an account chooses, such as its name: the registration form sends email to any address, and
would deliver messages written by anyone.
"""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

from app.database.repositories.accounts.email_outbox import EmailKind
from app.database.repositories.accounts.one_time_tokens import TokenPurpose
from app.services.email.transport import Email


@dataclass(frozen=True, slots=True)
class EmailTemplates:
    """Renders the emails of the auth service."""

    project_name: str
    public_url: str
    """Base URL of links. Never taken from a request, whose `Host` header an attacker may choose."""
    verification_lifetime: timedelta
    reset_lifetime: timedelta
    invitation_lifetime: timedelta

    def token_lifetime(self, purpose: TokenPurpose) -> timedelta:
        """Return the lifetime of a link, as the emails state it."""
        return self.verification_lifetime if purpose == "verify_email" else self.reset_lifetime

    def render(self, kind: EmailKind, recipient: str, token: str | None = None) -> Email:
        """Return an email; `token` is part of the link, for kinds that have one."""
        match kind:
            case "verify_email":
                subject, paragraphs = "Verify your email address", self._verify_email(token)
            case "reset_password":
                subject, paragraphs = "Reset your password", self._reset_password(token)
            case "already_registered":
                subject, paragraphs = "You already have an account", self._already_registered(token)
            case "password_changed":
                subject, paragraphs = "Your password was changed", self._password_changed()
            case "invitation":
                subject, paragraphs = "You are invited", self._invitation(recipient, token)
        body = "\n\n".join(["Hello,", *paragraphs, self.project_name]) + "\n"
        return Email(recipient, f"{self.project_name}: {subject}", body)

    def _verify_email(self, token: str | None) -> list[str]:
        return [
            f"this address was used to register at {self.project_name}. To confirm that it is yours, open this link:",
            self._link("verify-email", token),
            f"The link works once and is valid for {_format_duration(self.verification_lifetime)}.",
            "If you did not register, ignore this email.",
        ]

    def _reset_password(self, token: str | None) -> list[str]:
        return [
            f"a password reset was requested for your account at {self.project_name}. Open this link to reset it:",
            self._link("reset-password", token),
            f"The link works once and is valid for {_format_duration(self.reset_lifetime)}.",
            "A new password logs you out on all devices.",
            "If you did not request it, ignore this email: your password is unchanged.",
        ]

    def _already_registered(self, token: str | None) -> list[str]:
        return [
            f"someone tried to register at {self.project_name} with this address, which already has an account.",
            "If that was you, log in. If you have forgotten your password, choose a new one with this link:",
            self._link("reset-password", token),
            f"The link works once and is valid for {_format_duration(self.reset_lifetime)}.",
            "If it was not you, ignore this email: your account is unchanged.",
        ]

    def _password_changed(self) -> list[str]:
        return [
            f"the password of your account at {self.project_name} was changed.",
            "If that was you, no action is needed.",
            "If it was not you, request a password reset now:",
            self.public_url,
        ]

    def _invitation(self, recipient: str, token: str | None) -> list[str]:
        return [
            f"you are invited to {self.project_name}. To choose a user name and a password, open this link:",
            f"{self._link('register', token)}&email={quote(recipient, safe='')}",
            f"The link works once and is valid for {_format_duration(self.invitation_lifetime)}.",
            "If you do not want an account, ignore this email.",
        ]

    def _link(self, page: str, token: str | None) -> str:
        # In the fragment, which browsers do not send: so tokens appear neither in access logs nor in Referer headers.
        return f"{self.public_url}/{page}#token={token}"


def _format_duration(duration: timedelta) -> str:
    minutes = int(duration.total_seconds()) // 60
    number, unit = (minutes // 60, "hour") if minutes % 60 == 0 else (minutes, "minute")
    if duration > timedelta(days=1) and not duration % timedelta(days=1):
        number, unit = duration.days, "day"
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
