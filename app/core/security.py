"""Access tokens, refresh tokens, API keys and one-time tokens."""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from jose import jwt
from pydantic import BaseModel, ConfigDict, StrictInt

from app.core.schema_types import new_id

MAX_TOKEN_LENGTH = 4096
"""Maximum length of an access token in characters."""
MAX_TOKEN_LIFETIME = timedelta(days=1)
"""Maximum lifetime of an access token that settings permit; longer ones are refused."""

_MAX_CACHED_TOKENS = 10_000
"""Maximum number of verified tokens in the cache of a process."""
_CLOCK_SKEW = timedelta(minutes=1)
"""Maximum difference between the clocks of two services."""

API_KEY_PREFIX = "cbk_"
"""Prefix of API keys. It distinguishes them from access tokens and lets secret scanners recognise them."""


class InvalidTokenError(Exception):
    """The access token is invalid or expired. Deliberately without a reason."""


class AccessClaims(BaseModel):
    """Claims of an access token, all required."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    sub: UUID
    """Public id of the user."""
    sid: UUID
    """Public id of the login. Ending the login invalidates all of its tokens."""
    jti: UUID
    typ: Literal["access"]
    aud: str
    exp: StrictInt
    iat: StrictInt


@dataclass(frozen=True, slots=True)
class AccessTokens:
    """Issues and verifies access tokens (JWT); the only user of python-jose.

    Every check is requested explicitly: by default python-jose accepts any algorithm and a missing `exp` or `aud`.
    """

    key: str
    algorithm: str
    lifetime: timedelta
    previous_keys: tuple[str, ...] = ()
    """Other keys whose tokens are accepted."""
    issuer: str = "chat-bot-system"
    audience: str = "chat-bot-system"
    _verified: dict[bytes, AccessClaims] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Claims of verified tokens by the hash of the token, because one turn verifies its token several times."""

    def issue(self, *, user_id: UUID, session_id: UUID) -> str:
        """Return a signed token that expires after `lifetime`."""
        now = datetime.now(UTC)
        claims = {
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": str(new_id()),
            "typ": "access",
            "iss": self.issuer,
            "aud": self.audience,
            "iat": int(now.timestamp()),
            "exp": int((now + self.lifetime).timestamp()),
        }
        token: str = jwt.encode(claims, self.key, algorithm=self.algorithm)
        return token

    def verify(self, token: str) -> AccessClaims:
        """Check the signature, the algorithm and all claims, and return the claims.

        Raises:
            InvalidTokenError: a check failed.

        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidTokenError
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = self._decode(token)
            if len(self._verified) >= _MAX_CACHED_TOKENS:
                self._verified.clear()
            self._verified[digest] = claims
        # The only check whose result changes with time.
        elif claims.exp < int(time.time()):
            raise InvalidTokenError
        return claims

    def _decode(self, token: str) -> AccessClaims:
        *others, last = (self.key, *self.previous_keys)
        for key in others:
            with suppress(InvalidTokenError):
                return self._decode_with(key, token)
        return self._decode_with(last, token)

    def _decode_with(self, key: str, token: str) -> AccessClaims:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[self.algorithm],
                audience=self.audience,
                issuer=self.issuer,
                options={f"require_{name}": True for name in ("sub", "jti", "iss", "aud", "iat", "exp")},
            )
            verified = AccessClaims.model_validate(claims)
            canonical = jwt.encode(claims, key, algorithm=self.algorithm)
        except Exception as error:
            raise InvalidTokenError from error
        # Only the canonical encoding: no other header field (`crit`, `kid`, `jwk`), no duplicate claim, no padding.
        if token != canonical:
            raise InvalidTokenError
        latest = int((datetime.now(UTC) + _CLOCK_SKEW).timestamp())
        if verified.iat > latest or verified.exp - verified.iat > MAX_TOKEN_LIFETIME.total_seconds():
            raise InvalidTokenError
        return verified


_SESSION_BYTES = 16
_SECRET_BYTES = 32
_MAC_BYTES = 16
_TOKEN_BYTES = _SESSION_BYTES + _SECRET_BYTES + _MAC_BYTES


@dataclass(frozen=True, slots=True)
class RefreshTokens:
    """Issues and parses refresh tokens, which consist of the login's id, 256 random bits and a MAC.

    A token is valid if its hash is the one stored with the login. The MAC distinguishes a used token from a forged one:
    reuse of a token ends its login, while knowledge of a login's id does not suffice to end it. `key` is used for
    nothing else.
    """

    key: bytes
    previous_keys: tuple[bytes, ...] = ()
    """Other keys whose tokens are recognised."""

    @classmethod
    def from_secret(cls, *secret_keys: str) -> "RefreshTokens":
        """Derive the keys from `SECRET_KEY`, which itself signs access tokens, and the previous ones."""
        key, *previous = (hmac.digest(secret_key.encode(), b"refresh tokens", "sha256") for secret_key in secret_keys)
        return cls(key, tuple(previous))

    def issue(self, session_id: UUID) -> str:
        """Return the first token of a login."""
        return _encode(self.key, session_id.bytes + secrets.token_bytes(_SECRET_BYTES))

    def derive_successor(self, token: str) -> str:
        """Return the next token of the login. It is always the same, so that a lost response can be repeated.

        Raises:
            ValueError: the token is malformed.

        """
        return self.derive_successors(token)[0]

    def derive_successors(self, token: str) -> list[str]:
        """Return the next token of the login by each key, because another process may have derived it.

        Raises:
            ValueError: the token is malformed.

        """
        raw = _decode(token)
        return [
            _encode(key, raw[:_SESSION_BYTES] + hmac.digest(key, b"next" + raw, "sha256"))
            for key in (self.key, *self.previous_keys)
        ]

    def parse_session_id(self, token: str) -> UUID:
        """Return the id of the login that the token names. Nothing is verified.

        Raises:
            ValueError: the token is malformed.

        """
        return UUID(bytes=_decode(token)[:_SESSION_BYTES])

    def has_valid_mac(self, token: str) -> bool:
        """Return whether the token was issued with one of the keys, even if it has been used since.

        Raises:
            ValueError: the token is malformed.

        """
        raw = _decode(token)
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        return any(hmac.compare_digest(_mac(key, body), mac) for key in (self.key, *self.previous_keys))


def _encode(key: bytes, body: bytes) -> str:
    return base64.urlsafe_b64encode(body + _mac(key, body)).decode().rstrip("=")


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, b"seal" + body, "sha256")[:_MAC_BYTES]


def _decode(token: str) -> bytes:
    padding = "=" * (-len(token) % 4)
    try:
        raw = base64.b64decode(token + padding, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("not base64url") from None
    if len(raw) != _TOKEN_BYTES:
        raise ValueError("not the length of a refresh token")
    return raw


def new_api_key() -> str:
    """Return a new API key with 256 random bits."""
    return API_KEY_PREFIX + secrets.token_urlsafe(32)


def new_one_time_token() -> str:
    """Return a new token with 256 random bits, for a link in an email."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    """Return the SHA-256 hash under which an opaque token is stored. The token is random, so no salt is needed."""
    return hashlib.sha256(token.encode()).digest()
