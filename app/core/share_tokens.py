"""Tokens of the links to shared conversations."""

import base64
import hmac
from dataclasses import dataclass, field
from uuid import UUID

_ID_BYTES = 16
_TOKEN_LENGTH = 64


@dataclass(frozen=True, slots=True)
class ShareTokens:
    """Derives tokens from the ids of shares, so that owners can see their links again and none has to be stored.

    A token consists of the id and an HMAC-SHA256 of it, which are 256 unguessable bits. Each token has one spelling.
    """

    key: bytes = field(repr=False)
    """Key of the derivation, used for nothing else."""

    @classmethod
    def from_secret(cls, secret_key: str) -> "ShareTokens":
        """Derive the key from `SECRET_KEY`, which itself signs access tokens."""
        return cls(hmac.digest(secret_key.encode(), b"share tokens", "sha256"))

    def issue(self, share_id: UUID) -> str:
        """Return the token of a share."""
        mac = hmac.digest(self.key, share_id.bytes, "sha256")
        return base64.urlsafe_b64encode(share_id.bytes + mac).decode()

    def verify(self, token: str) -> UUID:
        """Return the id of the share of a token. The share may have been revoked.

        Raises:
            ValueError: the token was not issued with this key.

        """
        if len(token) != _TOKEN_LENGTH:
            raise ValueError("not the length of a token")
        try:
            share_id = UUID(bytes=base64.b64decode(token, altchars=b"-_", validate=True)[:_ID_BYTES])
        except ValueError:
            raise ValueError("not base64url") from None
        # The whole text, because the decoder accepts other spellings.
        if not hmac.compare_digest(self.issue(share_id), token):
            raise ValueError("not issued with this key")
        return share_id
