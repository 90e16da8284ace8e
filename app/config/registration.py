"""Registration of accounts, and the notice on the login page."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from app.config.base import SettingsBase

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
    LOGIN_NOTICE: Annotated[str, StringConstraints(strip_whitespace=True, max_length=1000)] = Field(
        "", description="Text that the login page shows to everybody, at most 1000 characters. Empty: none."
    )
