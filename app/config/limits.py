"""Rate limits, concurrency limits and quotas."""

from decimal import Decimal

from pydantic import Field

from app.config.base import Dollars, SettingsBase


class LimitSettings(SettingsBase):
    """Limits on requests, streams, tokens and cost."""

    RATE_LIMIT_REQUESTS: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Requests per window and account, all its devices and API keys together.",
    )
    RATE_LIMIT_REQUESTS_PER_ADDRESS: int = Field(
        2000,
        ge=1,
        le=1_000_000,
        description="Requests per window and network address (IPv6: per /64 network). "
        "Increase it where many people share an address.",
    )
    RATE_LIMIT_WINDOW: int = Field(60, ge=1, le=86_400, description="Length of the moving window in seconds.")
    STREAMS_PER_USER: int = Field(
        20, ge=1, le=10_000, description="Event streams that an account may have open at the same time in one process."
    )
    TRANSFERS_PER_USER: int = Field(
        2,
        ge=1,
        le=1000,
        description="Exports, imports and copies of sessions that an account may run at the same time in one process.",
    )
    IMPORTS_PER_PROCESS: int = Field(
        4,
        ge=1,
        le=1000,
        description="Imports that a chat service process runs at the same time. Each has its file in the directory for "
        "temporary files.",
    )
    IMPORT_MAX_BYTES: int = Field(
        104_857_600,
        ge=1_048_576,
        le=10**10,
        description="Maximum size of a file to import, in bytes. "
        "`client_max_body_size` in `nginx.conf` must not be less.",
    )
    QUOTA_TOKENS_PER_DAY: int = Field(
        0,
        ge=0,
        le=10**15,
        description="Tokens, of questions and answers together, that an account may use per day (UTC). 0: no limit.",
    )
    QUOTA_TOKENS_PER_MONTH: int = Field(0, ge=0, le=10**15, description="The same per month.")
    QUOTA_COST_PER_DAY: Dollars = Field(
        Decimal(0), description="US dollars that the answers of an account may cost per day (UTC). 0: no limit."
    )
    QUOTA_COST_PER_MONTH: Dollars = Field(Decimal(0), description="The same per month.")
