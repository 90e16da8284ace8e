"""Passwords and tokens."""

import hashlib
import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from jose import jwt
from passlib.hash import argon2
from pydantic import BaseModel, ConfigDict

from app.core.exceptions import ServiceUnavailableError
from app.core.types import new_id

MAX_TOKEN_LENGTH = 4096

API_KEY_PREFIX = "cbk_"
"""What API keys begin with: tells them from access tokens, and secret scanners what they have found."""

# RFC 9106, section 4, second recommended option: 64 MiB, three passes. One lane, because hashes run side by side.
_HASHER = argon2.using(type="ID", memory_cost=65_536, time_cost=3, parallelism=1)

_WAITING_PER_SLOT = 32


class PasswordHasher:
    """Argon2id, off the event loop, a bounded number at once: each hash takes 64 MiB and about 0.15 s of a core."""

    def __init__(self, concurrency: int) -> None:
        """At most `concurrency` hashes run at once; 32 times as many callers wait their turn, and more are refused."""
        self._limiter = CapacityLimiter(concurrency)
        self._max_waiting = concurrency * _WAITING_PER_SLOT
        # Verified when the account does not exist, so that both answers take the same time.
        self._decoy = _HASHER.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """Return the salted hash, in the modular crypt format.

        Raises:
            ServiceUnavailableError: too many are waiting already; so does `verify`.

        """
        return str(await self._run(_HASHER.hash, password))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Tell whether the password is right. `None` (no such account) takes as long and is never right."""
        matches = await self._run(_HASHER.verify, password, password_hash or self._decoy)
        return bool(matches) and password_hash is not None

    async def _run(self, function: Callable[..., Any], password: str, *arguments: str) -> Any:  # noqa: ANN401 - the library's
        if self._limiter.statistics().tasks_waiting >= self._max_waiting:
            raise ServiceUnavailableError(code="too_many_logins")
        # NIST SP 800-63B, section 3.1.1.2: the same characters, however a keyboard composed them.
        return await to_thread.run_sync(
            function, unicodedata.normalize("NFC", password), *arguments, limiter=self._limiter
        )


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
    exp: int
    iat: int


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
        except Exception as error:
            raise InvalidTokenError from error
        if claims.get("typ") != "access" or claims["aud"] != self.audience:
            raise InvalidTokenError
        return verified


def new_refresh_token() -> str:
    """Make an opaque refresh token of 256 bits."""
    return secrets.token_urlsafe(32)


def new_api_key() -> str:
    """Make an API key of 256 random bits."""
    return API_KEY_PREFIX + secrets.token_urlsafe(32)


def new_one_time_token() -> str:
    """Make a token of 256 random bits for a link in a mail."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> bytes:
    """Return what is stored of an opaque token: its SHA-256. The token is random, so no salt is needed."""
    return hashlib.sha256(token.encode()).digest()
