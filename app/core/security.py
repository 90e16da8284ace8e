"""Tokens: access tokens, refresh tokens, and the opaque ones of API keys and mailed links."""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from jose import jwt
from pydantic import BaseModel, ConfigDict, StrictInt

from app.core.types import new_id

MAX_TOKEN_LENGTH = 4096
MAX_TOKEN_LIFE = timedelta(days=1)
"""The longest that settings allow; a token of a longer one is not ours."""

_MAX_CACHED_TOKENS = 10_000
"""Tokens of which a process remembers what was in them."""
_CLOCK_SKEW = timedelta(minutes=1)
"""How far the clocks of two services may be apart."""

API_KEY_PREFIX = "cbk_"
"""What API keys begin with: tells them from access tokens, and secret scanners what they have found."""


class InvalidTokenError(Exception):
    """The access token is not one of ours, or not any more. It deliberately says no more than that."""


class AccessClaims(BaseModel):
    """Claims of an access token, each of them required."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    sub: UUID
    """The user."""
    sid: UUID
    """The login it belongs to: revoking that ends every token made from it."""
    jti: UUID
    typ: Literal["access"]
    aud: str
    exp: StrictInt
    iat: StrictInt


@dataclass(frozen=True, slots=True)
class AccessTokens:
    """Makes and checks access tokens: the only place that knows python-jose.

    python-jose takes an absent `algorithms`, `exp` or `aud` for consent, so nothing is left to its defaults.
    """

    key: str
    algorithm: str
    life: timedelta
    issuer: str = "chat-bot-system"
    audience: str = "chat-bot-system"
    _known: dict[bytes, AccessClaims] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was in the tokens that were found good before, by their hashes: a turn would check its token again."""

    def issue(self, *, user_id: UUID, session_id: UUID) -> str:
        """Sign a token that is good for `life` from now."""
        now = datetime.now(UTC)
        claims = {
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": str(new_id()),
            "typ": "access",
            "iss": self.issuer,
            "aud": self.audience,
            "iat": int(now.timestamp()),
            "exp": int((now + self.life).timestamp()),
        }
        token: str = jwt.encode(claims, self.key, algorithm=self.algorithm)
        return token

    def verify(self, token: str) -> AccessClaims:
        """Check signature, algorithm and every claim.

        Raises:
            InvalidTokenError: for every fault alike.

        """
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidTokenError
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        known = self._known.get(digest)
        if known is None:
            known = self._read(token)
            if len(self._known) >= _MAX_CACHED_TOKENS:
                self._known.clear()
            self._known[digest] = known
        # Time passes: the rest of what was checked stays true.
        elif known.exp < int(time.time()):
            raise InvalidTokenError
        return known

    def _read(self, token: str) -> AccessClaims:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.key,
                algorithms=[self.algorithm],
                audience=self.audience,
                issuer=self.issuer,
                options={f"require_{name}": True for name in ("sub", "jti", "iss", "aud", "iat", "exp")},
            )
            verified = AccessClaims.model_validate(claims)
            ours = jwt.encode(claims, self.key, algorithm=self.algorithm)
        except Exception as error:
            raise InvalidTokenError from error
        # There is one way to write a token: no further header (`crit`, `kid`, `jwk`), no claim twice, no padding.
        if token != ours:
            raise InvalidTokenError
        latest = int((datetime.now(UTC) + _CLOCK_SKEW).timestamp())
        if verified.iat > latest or verified.exp - verified.iat > MAX_TOKEN_LIFE.total_seconds():
            raise InvalidTokenError
        return verified


_SESSION_BYTES = 16
_SECRET_BYTES = 32
_SEAL_BYTES = 16
_TOKEN_BYTES = _SESSION_BYTES + _SECRET_BYTES + _SEAL_BYTES


@dataclass(frozen=True, slots=True)
class RefreshTokens:
    """Makes and reads refresh tokens: the login they belong to, 256 secret bits, and a seal.

    What counts is the hash that is stored with the login. The seal tells a used token of ours from an invented one,
    so that replaying a token ends its login, and knowing a login's id does not. `key` signs nothing else.
    """

    key: bytes

    @classmethod
    def from_secret(cls, secret_key: str) -> "RefreshTokens":
        """Derive the key from `SECRET_KEY`, so that it is not the one that signs access tokens."""
        return cls(hmac.digest(secret_key.encode(), b"refresh tokens", "sha256"))

    def new(self, session_id: UUID) -> str:
        """Make the first token of a login."""
        return self._sealed(session_id.bytes + secrets.token_bytes(_SECRET_BYTES))

    def successor(self, token: str) -> str:
        """Return the token that takes its place: always the same one, so that a lost answer can be given again.

        Raises:
            ValueError: it is no refresh token.

        """
        raw = _decode(token)
        secret = hmac.digest(self.key, b"next" + raw, "sha256")
        return self._sealed(raw[:_SESSION_BYTES] + secret)

    def session_of(self, token: str) -> UUID:
        """Return the login that the token names, truly or not.

        Raises:
            ValueError: it is no refresh token.

        """
        return UUID(bytes=_decode(token)[:_SESSION_BYTES])

    def is_ours(self, token: str) -> bool:
        """Tell whether the token was made with this key, used since or not.

        Raises:
            ValueError: it is no refresh token.

        """
        body, seal = _decode(token)[:-_SEAL_BYTES], _decode(token)[-_SEAL_BYTES:]
        return hmac.compare_digest(self._seal(body), seal)

    def _sealed(self, body: bytes) -> str:
        return base64.urlsafe_b64encode(body + self._seal(body)).decode().rstrip("=")

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self.key, b"seal" + body, "sha256")[:_SEAL_BYTES]


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
    """Make an API key of 256 random bits."""
    return API_KEY_PREFIX + secrets.token_urlsafe(32)


def new_one_time_token() -> str:
    """Make a token of 256 random bits for a link in a mail."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    """Return what is stored of an opaque token: its SHA-256. The token is random, so no salt is needed."""
    return hashlib.sha256(token.encode()).digest()
