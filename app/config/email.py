"""Email, and the verification of addresses."""

from email.errors import MessageError
from email.headerregistry import Address
from email.utils import getaddresses
from typing import Self

from pydantic import Field, field_validator, model_validator

from app.config.base import Line, OptionalUrl, Seconds, SettingsBase, Url, split_url


class EmailSettings(SettingsBase):
    """Mail transport, and the links that emails contain."""

    MAIL_URL: OptionalUrl = Field(
        None,
        repr=False,
        description="`smtp://user:password@host:587` (with STARTTLS), `smtps://host:465`, "
        "`smtp+plain://host:25` (no TLS), or `file:///directory`. Unset: no email is sent.",
    )
    MAIL_FROM: Line = Field("Chat Bot System <no-reply@localhost>", description="Sender of every email.")
    MAIL_TIMEOUT: Seconds = Field(10, description="Timeout of sending one email, in seconds.")
    PUBLIC_URL: Url = Field(
        "http://localhost:8080",
        description="Base URL of the web application, used for links in emails and shared conversations. Request "
        "headers never change it. With `https`, cookies have the attribute `Secure`.",
    )
    EMAIL_VERIFICATION_REQUIRED: bool = Field(
        default=False,
        description="True: an account can log in only after its address is verified, and registration "
        "without an invitation does not reveal which addresses are taken. Requires `MAIL_URL`.",
    )
    UNVERIFIED_MAY_CHAT: bool = Field(
        default=True, description="Whether the chat service serves accounts whose address is not verified."
    )
    VERIFICATION_TOKEN_EXPIRE_HOURS: int = Field(
        24, ge=1, le=720, description="Lifetime of a link that verifies an address."
    )
    RESET_TOKEN_EXPIRE_MINUTES: int = Field(30, ge=1, le=1440, description="Lifetime of a link that resets a password.")

    @field_validator("MAIL_URL")
    @classmethod
    def _check_mail_url(cls, url: str | None) -> str | None:
        if url is not None:
            is_file = url.startswith("file:")
            parts = split_url(url, {"smtp", "smtps", "smtp+plain", "file"}, host_required=not is_file)
            if is_file and (parts.netloc or not parts.path.strip("/")):
                raise ValueError("must be file:///directory, without a host")
            if "?" in url or "#" in url or not (is_file or parts.path in {"", "/"}):
                raise ValueError("must have neither a query nor a fragment, and a path only as file:///directory")
        return url

    @field_validator("MAIL_FROM")
    @classmethod
    def _check_mail_from(cls, sender: str) -> str:
        addresses = getaddresses([sender])
        try:
            address = Address(addr_spec=addresses[0][1])
        except (IndexError, ValueError, MessageError):
            address = Address()
        if len(addresses) != 1 or not (address.username and address.domain):
            raise ValueError("must be an address or `Name <address>`")
        return sender

    @field_validator("PUBLIC_URL")
    @classmethod
    def _check_public_url(cls, url: str) -> str:
        parts = split_url(url, {"http", "https"})
        if "?" in url or "#" in url or parts.username is not None:
            raise ValueError("must be scheme://host[:port][/path] without query and fragment")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _check_verification_has_mail(self) -> Self:
        if self.EMAIL_VERIFICATION_REQUIRED and self.MAIL_URL is None:
            raise ValueError("EMAIL_VERIFICATION_REQUIRED: requires MAIL_URL, otherwise new accounts could not log in")
        return self
