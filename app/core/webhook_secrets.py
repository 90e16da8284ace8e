"""Signing secrets of webhooks in the format of Standard Webhooks: `whsec_` and base64."""

import base64
import binascii
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

PREFIX = "whsec_"
_MIN_BYTES, _MAX_BYTES = 24, 64
"""Minimum and maximum length of a secret that the standard permits."""


class MissingSecretError(Exception):
    """An endpoint uses `WEBHOOK_SECRET`, which is not set."""


@dataclass(frozen=True, slots=True)
class WebhookSecrets:
    """Derives the secrets of endpoints from a key, so that none has to be stored."""

    key: bytes = field(repr=False)
    """Key of the derivation, used for nothing else."""
    shared: tuple[str, ...] = field(default=(), repr=False)
    """Secrets in `WEBHOOK_SECRET`, which endpoints may use instead of their own."""
    previous_keys: tuple[bytes, ...] = field(default=(), repr=False)
    """Other keys with which deliveries are signed too, while receivers change to the secrets of `key`."""

    @classmethod
    def from_secret(
        cls, secret_key: str, shared: tuple[str, ...] = (), previous: Iterable[str] = ()
    ) -> "WebhookSecrets":
        """Derive the keys from `SECRET_KEY`, which itself signs access tokens, and its `previous` values."""
        key, *others = (hmac.digest(each.encode(), b"webhook secrets", "sha256") for each in (secret_key, *previous))
        return cls(key, shared, tuple(others))

    def own(self, endpoint: UUID, generation: int) -> str:
        """Return the endpoint's own secret of a generation. Rotation increments the generation."""
        return _derive(self.key, endpoint, generation)

    def signing(
        self,
        endpoint: UUID,
        *,
        generation: int,
        has_previous: bool,
        uses_shared: bool,
        earlier_generations: Sequence[int] = (),
    ) -> tuple[str, ...]:
        """Return the secrets with which deliveries to an endpoint are signed, newest first. Each one adds a signature.

        `has_previous`: whether the secret of the generation before is valid too. `earlier_generations`: older ones that
        are.

        Raises:
            MissingSecretError: the endpoint uses `WEBHOOK_SECRET`, which is not set.

        """
        if uses_shared:
            if not self.shared:
                raise MissingSecretError
            return self.shared
        generations = {generation, *earlier_generations, *((generation - 1,) if has_previous else ())}
        keys = (self.key, *self.previous_keys)
        return tuple(_derive(key, endpoint, each) for key in keys for each in sorted(generations, reverse=True))


def _derive(key: bytes, endpoint: UUID, generation: int) -> str:
    return PREFIX + base64.b64encode(hmac.digest(key, endpoint.bytes + generation.to_bytes(4), "sha256")).decode()


def parse_secrets(text: str) -> tuple[str, ...]:
    """Return the space-separated secrets of a setting.

    Raises:
        ValueError: one of them is malformed.

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
                f"`echo {PREFIX}$(openssl rand -base64 32)` generates one"
            )
    return secrets
