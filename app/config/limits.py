"""Rate limits, concurrency limits and quotas."""

from decimal import Decimal

from pydantic import Field

from app.config.base import Dollars, Seconds, SettingsBase


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
    REQUESTS_PER_PROCESS: int = Field(
        32,
        ge=1,
        le=1000,
        description="Requests that a process works on at the same time; at most four fifths of its database "
        "connections, at least 1. Among others, requests that wait for a model and event streams are not counted.",
    )
    REQUESTS_PER_CLIENT: int = Field(
        8,
        ge=1,
        le=1000,
        description="Those of one client: an account, or a network address without a valid token. At most half of all, "
        "at least 1.",
    )
    EXPENSIVE_REQUESTS_PER_PROCESS: int = Field(
        8,
        ge=1,
        le=1000,
        description="Searches, reports, copies, erasures and changes of many sessions that a process works on at the "
        "same time, besides other requests; at most a fifth of its database connections, at least 1.",
    )
    QUEUED_REQUESTS_PER_PROCESS: int = Field(
        256,
        ge=1,
        le=100_000,
        description="Requests that may wait in a process, and as many expensive ones besides. Further ones get 503 "
        "`overloaded`, or take the place of the newest of a client that has more waiting, which gets 429 "
        "`too_many_requests`.",
    )
    QUEUED_REQUESTS_PER_CLIENT: int = Field(
        64, ge=1, le=100_000, description="Those of one client. Further ones get 429 `too_many_requests`."
    )
    REQUEST_QUEUE_TIMEOUT: Seconds = Field(
        0.8, description="Seconds that a request waits in queues before it is refused."
    )
    REQUEST_BODY_TIMEOUT: Seconds = Field(
        15,
        description="Seconds in which the body of a request must arrive, except files to import; what a chat "
        "completion has beyond 400 KiB has as long again. `client_body_timeout` in `nginx.conf` must be longer.",
    )
    QUESTIONS_PER_USER: int = Field(
        50,
        ge=1,
        le=10_000,
        description="Questions without event stream that an account may have in progress in one process.",
    )
    OPEN_ANSWERS_PER_PROCESS: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Event streams and questions without event stream that a process has in progress at the same time.",
    )
    STREAMS_PER_USER: int = Field(
        20, ge=1, le=10_000, description="Event streams that an account may have open at the same time in one process."
    )
    TRANSFERS_PER_USER: int = Field(
        2,
        ge=1,
        le=1000,
        description="Exports, imports and copies that an account may run at the same time in one process.",
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
        description="Tokens, of prompts and answers together, that an account may use per day (UTC). 0: no limit.",
    )
    QUOTA_TOKENS_PER_MONTH: int = Field(0, ge=0, le=10**15, description="The same per month.")
    QUOTA_COST_PER_DAY: Dollars = Field(
        Decimal(0), description="US dollars that the model calls of an account may cost per day (UTC). 0: no limit."
    )
    QUOTA_COST_PER_MONTH: Dollars = Field(Decimal(0), description="The same per month.")
