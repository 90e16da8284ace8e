"""Field types of the auth service's requests: addresses, names, passwords."""

from typing import Annotated, Literal

from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
)
from pydantic_core import PydanticCustomError
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from app.core.identity import has_ambiguous_letters, is_address, unify
from app.core.schema_types import DisplayText, NotBlank, Storable, check_text
from app.core.text import strip_blank

MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_LENGTH = 256
MIN_USERNAME_LENGTH = 3
MAX_USERNAME_LENGTH = 50
USERNAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MAX_FULL_NAME_LENGTH = 200

_COMMON_PASSWORDS = frozenset(
    password for password in FREQUENCY_LISTS["passwords"] if len(password) >= MIN_PASSWORD_LENGTH
)
_PUBLIC_SUFFIX = ".com"
"""Appended to a domain while it is validated: the library refuses domains of local networks, such as `localhost`."""


def _normalize_email(address: str) -> str:
    try:
        normalized = validate_email(f"{unify(address)}{_PUBLIC_SUFFIX}", check_deliverability=False).normalized
    except EmailNotValidError:
        # Not the library's message, which contains parts of the input.
        raise ValueError("must be an email address") from None
    return normalized.removesuffix(_PUBLIC_SUFFIX)


def _normalize_login(login: str) -> str:
    """Return an address as registration stores it, and any other text unchanged."""
    try:
        return _normalize_email(login) if is_address(login) else login
    except ValueError:
        return login


def _check_unambiguous(address: str) -> str:
    if has_ambiguous_letters(address):
        raise ValueError("must not contain letters whose other case is a different letter: \u0130, \u0131")
    return address


def _strip(value: object) -> object:
    # NUL is not white space: text with it is refused.
    return strip_blank(value) if isinstance(value, str) and "\0" not in value else value


def _check_password(password: SecretStr) -> SecretStr:
    # NIST SP 800-63B, section 3.1.1.2: a minimum length, no composition rules, no truncation.
    text = password.get_secret_value()
    if not MIN_PASSWORD_LENGTH <= len(text) <= MAX_PASSWORD_LENGTH:
        raise ValueError(f"must have {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters")
    check_text(text)
    # The same section: compare with a list of commonly used passwords.
    if text.lower() in _COMMON_PASSWORDS:
        raise PydanticCustomError("common_password", "is one of the most common passwords")
    return password


MAX_EMAIL_LENGTH = 254

EmailAddress = Annotated[
    str,
    StringConstraints(max_length=MAX_EMAIL_LENGTH),
    BeforeValidator(_strip),
    Storable,
    AfterValidator(_normalize_email),
    Field(json_schema_extra={"format": "email", "minLength": 3}),
]
"""An address to look up. White space around it is ignored."""
NewEmailAddress = Annotated[EmailAddress, AfterValidator(_check_unambiguous)]
"""An address to store."""
Username = Annotated[
    str,
    StringConstraints(min_length=MIN_USERNAME_LENGTH, max_length=MAX_USERNAME_LENGTH, pattern=USERNAME_PATTERN),
    BeforeValidator(_strip),
]
LoginName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_EMAIL_LENGTH),
    BeforeValidator(_strip),
    Storable,
    AfterValidator(_normalize_login),
]
"""An email address or a user name, as entered at a login. White space around it is ignored."""
NewPassword = Annotated[
    SecretStr,
    AfterValidator(_check_password),
    Field(json_schema_extra={"minLength": MIN_PASSWORD_LENGTH, "maxLength": MAX_PASSWORD_LENGTH}),
]
Role = Literal["user", "admin"]
SubmittedPassword = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PASSWORD_LENGTH), Storable]
"""A password to verify, never truncated. Text that cannot be a password is refused."""
FullName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_FULL_NAME_LENGTH), DisplayText, NotBlank
]

LinkToken = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]
MailedToken = Annotated[
    LinkToken,
    Field(repr=False, examples=["q83vEjRWeJq83vA..."], description="The text after `#token=` in the link."),
]
