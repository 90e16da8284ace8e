"""PostgreSQL: all that migrations and the command line need."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from app.config.base import OptionalUrl, Seconds, SettingsBase, Url
from app.config.database_url import parse_database_url


class DatabaseSettings(SettingsBase):
    """Connection and pool of PostgreSQL."""

    DATABASE_URL: Url = Field(
        repr=False,
        description="`postgresql://user:password@host:port/name`; `?host=/directory` for a Unix socket, "
        "`?sslmode=require` for TLS. `docs/how-to/database.md` lists the other parameters.",
    )
    DATABASE_POOL_MODE: Literal["session", "transaction"] = Field(
        "session",
        description="`transaction` if `DATABASE_URL` is a pooler in this mode, such as PgBouncer with "
        "`pool_mode = transaction`. Then `MIGRATION_DATABASE_URL` is required for migrations.",
    )
    MIGRATION_DATABASE_URL: OptionalUrl = Field(
        None,
        repr=False,
        description="URL of the same database for the role that owns the tables, without a pooler in transaction mode. "
        "Only the command line uses it. If its role is another one than that in `DATABASE_URL`, the latter owns "
        "nothing; migrations create it if needed, and grant its rights. Unset: `DATABASE_URL`.",
    )
    DATABASE_POOL_SIZE: int = Field(
        20, ge=1, le=1000, description="Maximum number of connections that each process keeps open."
    )
    DATABASE_MAX_OVERFLOW: int = Field(
        30, ge=0, le=1000, description="Additional connections that a process may open during a burst."
    )
    DATABASE_POOL_TIMEOUT: Seconds = Field(
        1,
        description="Seconds to wait for a free connection, then 503 `overloaded`. More than 1 counts as 1.",
    )
    DATABASE_CONNECT_TIMEOUT: Seconds = Field(1.5, description="Timeout for opening a connection, in seconds.")
    DATABASE_COMMAND_TIMEOUT: Seconds = Field(5, description="Timeout of one statement, in seconds.")

    @field_validator("DATABASE_URL", "MIGRATION_DATABASE_URL")
    @classmethod
    def _check_database_url(cls, url: str | None) -> str | None:
        if url is not None:
            parse_database_url(url)
        return url

    @model_validator(mode="after")
    def _check_pool_mode(self) -> Self:
        if self.DATABASE_POOL_MODE == "transaction" and "options" in parse_database_url(self.DATABASE_URL).parameters:
            raise ValueError("DATABASE_URL: options: is not supported if DATABASE_POOL_MODE is transaction")
        return self

    def migration_url(self) -> str:
        """Return the URL for migrations.

        Raises:
            ValueError: there is only that of a pooler in transaction mode.

        """
        if self.MIGRATION_DATABASE_URL is None and self.DATABASE_POOL_MODE == "transaction":
            raise ValueError("MIGRATION_DATABASE_URL: is required, because DATABASE_POOL_MODE is transaction")
        return self.MIGRATION_DATABASE_URL or self.DATABASE_URL
