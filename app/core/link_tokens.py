"""Tokens of links: to shared conversations, and of invitations."""

import base64
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

_ID_BYTES = 16
_TOKEN_LENGTH = 64


@dataclass(frozen=True, slots=True)
class LinkTokens:
    """Derives tokens from the ids of what links lead to, so that a link can be made again and none has to be stored.

    A token consists of the id and an HMAC-SHA256 of it, which are 256 unguessable bits. Each token has one spelling.
    """

    key: bytes = field(repr=False)
    """Key of the derivation, used for nothing else."""
    previous_keys: tuple[bytes, ...] = field(default=(), repr=False)
    """Other keys whose tokens are accepted."""

    @classmethod
    def from_secret(
        cls, secret_key: str, purpose: Literal["share tokens", "invitation tokens"], previous: Iterable[str] = ()
    ) -> "LinkTokens":
        """Derive the keys from `SECRET_KEY`, which itself signs access tokens. Each purpose has keys of its own.

        Links of the `previous` values of `SECRET_KEY` are accepted.
        """
        key, *others = (hmac.digest(each.encode(), purpose.encode(), "sha256") for each in (secret_key, *previous))
        return cls(key, tuple(others))

    def issue(self, target_id: UUID) -> str:
        """Return the token of a share or an invitation."""
        return _encode(self.key, target_id)

    def verify(self, token: str) -> UUID:
        """Return the id that a token was issued for. The share or invitation may have been revoked.

        Raises:
            ValueError: the token was not issued with this key.

        """
        if len(token) != _TOKEN_LENGTH:
            raise ValueError("not the length of a token")
        try:
            target_id = UUID(bytes=base64.b64decode(token, altchars=b"-_", validate=True)[:_ID_BYTES])
        except ValueError:
            raise ValueError("not base64url") from None
        # The whole text, because the decoder accepts other spellings.
        keys = (self.key, *self.previous_keys)
        if not any(hmac.compare_digest(_encode(key, target_id), token) for key in keys):
            raise ValueError("not issued with this key")
        return target_id


def _encode(key: bytes, target_id: UUID) -> str:
    return base64.urlsafe_b64encode(target_id.bytes + hmac.digest(key, target_id.bytes, "sha256")).decode()
