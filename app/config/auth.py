"""Tokens, passwords and brute-force protection."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from app.config.base import Seconds, SettingsBase, check_line, strip_to_none

MINIMUM_SECRET_BYTES = 32
"""RFC 7518, section 3.2: an HS256 key is at least as long as the hash output."""


class AuthSettings(SettingsBase):
    """Tokens, passwords and limits on login attempts."""

    SECRET_KEY: SecretStr = Field(
        description="Signs access tokens and cursors; refresh tokens, links of invitations and shares, and secrets of "
        "webhooks are derived from it. At least 32 bytes, the same on all services (`openssl rand -hex 32`)."
    )
    SECRET_KEY_PREVIOUS: Annotated[SecretStr | None, BeforeValidator(strip_to_none)] = Field(
        None,
        description="Other values of `SECRET_KEY` that are accepted while it is changed, separated by spaces: what was "
        "issued with them stays valid.",
    )
    ALGORITHM: Literal["HS256", "HS384", "HS512"] = Field("HS256", description="Signature algorithm of access tokens.")
    ACCESS_TOKEN_EXPIRE_MINUTES: int = Field(30, ge=1, le=1440, description="Lifetime of an access token.")
    REFRESH_TOKEN_EXPIRE_DAYS: int = Field(7, ge=1, le=365, description="Lifetime of a login after its last refresh.")
    PASSWORD_HASH_CONCURRENCY: int = Field(
        1,
        ge=1,
        le=64,
        description="Passwords hashed at the same time by one process; each takes 64 MiB and a core. "
        "Increase it where cores are idle.",
    )
    PASSWORD_HASH_QUEUE_TIMEOUT: Seconds = Field(
        0.8,
        description="Seconds that a request waits until its password is hashed; then 503 `too_many_logins`. "
        "`REQUEST_QUEUE_TIMEOUT` limits the wait in all queues. The request that is next waits up to 3 s longer.",
    )
    LOGIN_ATTEMPTS_PER_ACCOUNT: int = Field(
        10,
        ge=1,
        le=1000,
        description="Wrong passwords per window: for one account in all networks together (each that its owner uses "
        "has its own count), for one name in one network, and of one login in one network where it asks for the "
        "password again (three times as many in all networks together that the owner does not use).",
    )
    LOGIN_ATTEMPTS_PER_ADDRESS: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Wrong passwords of logins from one network address (IPv6: per /64 network) per window.",
    )
    LOGIN_ATTEMPTS_WINDOW: int = Field(
        900, ge=1, le=86_400, description="Length of that window in seconds, starting with the first attempt."
    )

    @field_validator("SECRET_KEY")
    @classmethod
    def _check_secret_key(cls, key: SecretStr) -> SecretStr:
        if len(key.get_secret_value().strip().encode()) < MINIMUM_SECRET_BYTES:
            raise ValueError(f"must have at least {MINIMUM_SECRET_BYTES} bytes; `openssl rand -hex 32` generates one")
        check_line(key.get_secret_value().strip())
        return key

    @field_validator("SECRET_KEY_PREVIOUS")
    @classmethod
    def _check_previous_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        for key in keys.get_secret_value().split() if keys else ():
            cls._check_secret_key(SecretStr(key))
        return keys

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """`SECRET_KEY`, with which everything is issued, and then the keys that are accepted besides.

        White space around `SECRET_KEY`, such as the line end of a file, is no part of it. Earlier releases kept it:
        what they have issued stays valid.
        """
        key = self.SECRET_KEY.get_secret_value()
        others = self.SECRET_KEY_PREVIOUS.get_secret_value().split() if self.SECRET_KEY_PREVIOUS else ()
        return tuple(dict.fromkeys((key.strip(), key, *others)))
