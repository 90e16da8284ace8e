"""Tokens of links: to shared conversations, and of invitations."""

import base64
import hmac
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

    @classmethod
    def from_secret(cls, secret_key: str, purpose: Literal["share tokens", "invitation tokens"]) -> "LinkTokens":
        """Derive the key from `SECRET_KEY`, which itself signs access tokens. Each purpose has a key of its own."""
        return cls(hmac.digest(secret_key.encode(), purpose.encode(), "sha256"))

    def issue(self, target_id: UUID) -> str:
        """Return the token of a share or an invitation."""
        mac = hmac.digest(self.key, target_id.bytes, "sha256")
        return base64.urlsafe_b64encode(target_id.bytes + mac).decode()

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
        if not hmac.compare_digest(self.issue(target_id), token):
            raise ValueError("not issued with this key")
        return target_id
