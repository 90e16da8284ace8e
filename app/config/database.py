"""PostgreSQL: all that migrations and the command line need."""

from pydantic import Field, field_validator

from app.config.base import Seconds, SettingsBase, Url
from app.config.database_url import parse_database_url


class DatabaseSettings(SettingsBase):
    """Connection and pool of PostgreSQL."""

    DATABASE_URL: Url = Field(
        repr=False,
        description="`postgresql://user:password@host:port/name`; `?host=/directory` for a Unix socket, "
        "`?sslmode=require` for TLS. `docs/operations.md` lists the other parameters.",
    )
    DATABASE_POOL_SIZE: int = Field(20, ge=1, le=1000, description="Connections that each service process keeps open.")
    DATABASE_MAX_OVERFLOW: int = Field(
        30, ge=0, le=1000, description="Additional connections that a process may open during a burst."
    )
    DATABASE_POOL_TIMEOUT: Seconds = Field(30, description="Seconds a request waits for a free connection.")
    DATABASE_CONNECT_TIMEOUT: Seconds = Field(1.5, description="Timeout for opening a connection, in seconds.")
    DATABASE_COMMAND_TIMEOUT: Seconds = Field(5, description="Timeout of one statement, in seconds.")

    @field_validator("DATABASE_URL")
    @classmethod
    def _check_database_url(cls, url: str) -> str:
        parse_database_url(url)
        return url
