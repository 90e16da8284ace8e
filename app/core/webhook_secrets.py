"""What webhooks are signed with, as Standard Webhooks write it: `whsec_` and base64."""

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from uuid import UUID

PREFIX = "whsec_"
_MIN_BYTES, _MAX_BYTES = 24, 64
"""Bytes, by the standard's section on secrets."""


class MissingSecretError(Exception):
    """An endpoint is to be signed for with `WEBHOOK_SECRET`, and there is none."""


@dataclass(frozen=True, slots=True)
class WebhookSecrets:
    """Makes the secrets of endpoints: they are derived, so that none has to be stored."""

    key: bytes = field(repr=False)
    """It is used for nothing else."""
    shared: tuple[str, ...] = field(default=(), repr=False)
    """Those of `WEBHOOK_SECRET`, which endpoints may use instead of one of their own."""

    @classmethod
    def from_secret(cls, secret_key: str, shared: tuple[str, ...] = ()) -> "WebhookSecrets":
        """Derive the key from `SECRET_KEY`, so that it is not the one that signs access tokens."""
        return cls(hmac.digest(secret_key.encode(), b"webhook secrets", "sha256"), shared)

    def own(self, endpoint: UUID, generation: int) -> str:
        """Return an endpoint's own secret: another one for each generation."""
        secret = hmac.digest(self.key, endpoint.bytes + generation.to_bytes(4), "sha256")
        return PREFIX + base64.b64encode(secret).decode()

    def signing(self, endpoint: UUID, *, generation: int, has_previous: bool, uses_shared: bool) -> tuple[str, ...]:
        """Return the secrets that sign for an endpoint, each for itself: the newest first.

        Raises:
            NoSecretError: there is none.

        """
        if uses_shared:
            if not self.shared:
                raise MissingSecretError
            return self.shared
        return tuple(self.own(endpoint, generation - back) for back in range(2 if has_previous else 1))


def parse_secrets(text: str) -> tuple[str, ...]:
    """Return the secrets of a setting, which are separated by spaces.

    Raises:
        ValueError: one of them is none.

    """
    secrets = tuple(text.split())
    for secret in secrets:
        try:
            size = len(base64.b64decode(secret.removeprefix(PREFIX), validate=True))
        except (ValueError, binascii.Error):
            size = 0
        if not (secret.startswith(PREFIX) and _MIN_BYTES <= size <= _MAX_BYTES):
            raise ValueError(
                f"must be {PREFIX} and {_MIN_BYTES} to {_MAX_BYTES} bytes in base64; "
                f"`echo {PREFIX}$(openssl rand -base64 32)` makes one"
            )
    return secrets
