"""Domains of the email addresses that accounts may have."""

from collections.abc import Sequence
from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from app.core.exceptions import InvalidFieldError
from app.core.identity import canonical_email


@dataclass(frozen=True, slots=True)
class EmailPolicy:
    """Accepts addresses at domains of the internet, and at the operator's own domains."""

    local_domains: Sequence[str]
    """Domains in ASCII; with a leading dot, all domains that end with it."""

    def require_accepted(self, address: str) -> None:
        """Check the domain of an address of a request.

        Raises:
            InvalidFieldError: it is no domain of the internet (RFC 6761 and others), and not among `local_domains`.

        """
        if not self.accepts(address):
            raise InvalidFieldError("body.email", "value_error", "must be at a domain of the internet")

    def accepts(self, address: str) -> bool:
        """Return whether an account may have the address."""
        domain = canonical_email(address).rpartition("@")[2]
        if any(domain == own or (own.startswith(".") and domain.endswith(own)) for own in self.local_domains):
            return True
        try:
            validate_email(address, check_deliverability=False)
        except EmailNotValidError:
            return False
        return True
