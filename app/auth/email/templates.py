"""What mails say.

Nothing that a stranger chose is in them, such as the name of an account: a form that sends mail to anybody would carry
anybody's message.
"""

from dataclasses import dataclass
from datetime import timedelta

from app.database.repositories.accounts.email_outbox import EmailKind
from app.database.repositories.accounts.one_time_tokens import TokenPurpose
from app.services.email.transport import Email


@dataclass(frozen=True, slots=True)
class EmailTemplates:
    """Writes the mails of the auth service."""

    project: str
    public_url: str
    """Where links lead. A setting and nothing else: what a request says of the host may be an attacker's."""
    verification_life: timedelta
    reset_life: timedelta

    def life(self, purpose: TokenPurpose) -> timedelta:
        """Return how long a link is good, as the mails say."""
        return self.verification_life if purpose == "verify_email" else self.reset_life

    def write(self, kind: EmailKind, recipient: str, token: str | None = None) -> Email:
        """Write a mail. `token` is what its link holds, for the kinds that have one."""
        match kind:
            case "verify_email":
                subject, paragraphs = "Verify your email address", self._verify_email(token)
            case "reset_password":
                subject, paragraphs = "Reset your password", self._reset_password(token)
            case "already_registered":
                subject, paragraphs = "You already have an account", self._already_registered(token)
            case "password_changed":
                subject, paragraphs = "Your password was changed", self._password_changed()
        return Email(recipient, f"{self.project}: {subject}", "\n\n".join(["Hello,", *paragraphs, self.project]) + "\n")

    def _verify_email(self, token: str | None) -> list[str]:
        return [
            f"this address was used to register at {self.project}. To show that it is yours, open this link:",
            self._link("verify-email", token),
            f"The link works once, and for {_words(self.verification_life)}.",
            "If you did not register, ignore this mail.",
        ]

    def _reset_password(self, token: str | None) -> list[str]:
        return [
            f"somebody asked for a new password for your account at {self.project}. To choose one, open this link:",
            self._link("reset-password", token),
            f"The link works once, and for {_words(self.reset_life)}. Choosing a new password logs you out everywhere.",
            "If you did not ask for it, ignore this mail: your password stays as it is.",
        ]

    def _already_registered(self, token: str | None) -> list[str]:
        return [
            f"somebody tried to register at {self.project} with this address, which has an account already.",
            "If that was you, log in. If you have forgotten your password, choose a new one with this link:",
            self._link("reset-password", token),
            f"The link works once, and for {_words(self.reset_life)}.",
            "If it was not you, ignore this mail: nothing has changed.",
        ]

    def _password_changed(self) -> list[str]:
        return [
            f"the password of your account at {self.project} was changed.",
            "If that was you, there is nothing to do.",
            "If it was not, choose a new password now, as if you had forgotten it:",
            self.public_url,
        ]

    def _link(self, page: str, token: str | None) -> str:
        # In the fragment: browsers send it to no server, so it is in no server's log and in no Referer header.
        return f"{self.public_url}/{page}#token={token}"


def _words(life: timedelta) -> str:
    minutes = int(life.total_seconds()) // 60
    number, unit = (minutes // 60, "hour") if minutes % 60 == 0 else (minutes, "minute")
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
