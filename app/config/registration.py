"""Registration of accounts, and the notice on the login page."""

from typing import Annotated, Literal

import idna
from pydantic import Field, StringConstraints, field_validator

from app.config.base import SettingsBase, TextList

RegistrationMode = Literal["open", "invitation", "closed"]


class RegistrationSettings(SettingsBase):
    """Registration, invitations, and the notice on the login page."""

    REGISTRATION: RegistrationMode = Field(
        "open",
        description="Who may register: everybody (`open`), or only who has been invited by an admin. `invitation` and "
        "`closed` differ in what pages and error messages say: `invitation` tells people to ask for one. Invitations "
        "need `MAIL_URL`.",
    )
    INVITATION_EXPIRE_DAYS: int = Field(7, ge=1, le=90, description="Lifetime of an invitation.")
    EMAIL_LOCAL_DOMAINS: TextList = Field(
        [],
        description="Domains of your own network whose addresses are accepted too, comma-separated or as a JSON list: "
        "`localhost`, `mail.corp`, or `.local` for all domains that end with it.",
    )
    LOGIN_NOTICE: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)] = Field(
        "", description="Text that the login page shows to everybody, at most 1000 characters. Empty: none."
    )

    @field_validator("EMAIL_LOCAL_DOMAINS")
    @classmethod
    def _normalize_domains(cls, domains: list[str]) -> list[str]:
        return [_normalize_domain(domain) for domain in domains]


def _normalize_domain(domain: str) -> str:
    prefix = "." if domain.startswith(".") else ""
    try:
        ascii_domain = idna.encode(domain.removeprefix("."), uts46=True, std3_rules=True).decode()
    except UnicodeError:
        raise ValueError("must be domains, such as localhost or .local") from None
    return prefix + ascii_domain
