"""Redis."""

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from app.config.base import Seconds, SettingsBase, Url, empty_to_none, split_url


class RedisSettings(SettingsBase):
    """Connection to Redis."""

    REDIS_URL: Url = Field("redis://localhost:6379", repr=False, description="`redis://`, `rediss://` or `unix://`.")
    REDIS_PASSWORD: Annotated[SecretStr | None, BeforeValidator(empty_to_none)] = Field(
        None, description="Password, if the URL contains none."
    )
    REDIS_DB: int = Field(0, ge=0, le=1_000_000, description="Database number, if the URL contains none.")
    REDIS_TIMEOUT: Seconds = Field(
        0.3, description="Timeout of a Redis command, in seconds. All operations work without Redis, some more slowly."
    )

    @field_validator("REDIS_URL")
    @classmethod
    def _check_redis_url(cls, url: str) -> str:
        split_url(url, {"redis", "rediss", "unix"}, host_required=not url.startswith("unix:"))
        return url
