"""Settings of all services, read from the environment and from `.env`."""

import json
from decimal import Decimal
from email.utils import parseaddr
from functools import lru_cache
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.outgoing_allowlist import AllowedHosts
from app.core.webhook_secrets import parse_secrets

MINIMUM_SECRET_BYTES = 32
"""RFC 7518, section 3.2: an HS256 key is at least as long as the hash output."""

_S = TypeVar("_S", bound=BaseSettings)

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful assistant. Answer correctly, to the point, and in the language of the question."
)

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


Dollars = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Price = Dollars
"""US dollars for a million tokens."""


class ModelSetting(BaseModel):
    """A model that clients may name, in `LLM_MODELS`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str = Field(pattern=r"^[^\s,](.*[^\s,])?$", max_length=200)
    context_window: int | None = Field(None, ge=1, le=100_000_000)
    prompt_price: Price | None = None
    completion_price: Price | None = None

    @model_validator(mode="after")
    def _check_prices(self) -> Self:
        if (self.prompt_price is None) is not (self.completion_price is None):
            raise ValueError("prompt_price and completion_price: both or none")
        return self


class DatabaseSettings(BaseSettings):
    """Where the data are: all that migrations and the command line need."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        case_sensitive=True,
        extra="ignore",
        # A value may be a secret: validation errors must not repeat it.
        hide_input_in_errors=True,
    )

    DATABASE_URL: str = Field(
        repr=False,
        description="`postgresql://user:password@host:port/name`; "
        "`?host=/directory` for a Unix socket, `?sslmode=require` for TLS.",
    )
    DATABASE_POOL_SIZE: int = Field(20, ge=1, le=1000, description="Connections each service process keeps open.")
    DATABASE_MAX_OVERFLOW: int = Field(30, ge=0, le=1000, description="Connections it may open besides, for a burst.")
    DATABASE_POOL_TIMEOUT: Seconds = Field(30, description="Seconds a request waits for a free connection.")
    DATABASE_CONNECT_TIMEOUT: Seconds = Field(1.5, description="Seconds to open a connection.")
    DATABASE_COMMAND_TIMEOUT: Seconds = Field(5, description="Seconds one statement may take.")

    @field_validator("DATABASE_URL")
    @classmethod
    def _check_database_url(cls, url: str) -> str:
        parts = _split_url(url, {"postgresql"}, host_required=False)
        if not parts.path.strip("/"):
            raise ValueError("the URL names no database")
        return url


class Settings(DatabaseSettings):
    """One field per environment variable; the name of the field is the name of the variable.

    The table in `docs/settings.md` is generated from these descriptions.
    """

    # API
    API_V1_STR: str = Field(
        "/api/v1",
        pattern=r"^(/[a-z0-9_-]+)+$",
        description="Path prefix of every API route, as `nginx.conf` routes it.",
    )
    PROJECT_NAME: str = Field("Chat Bot System", description="Name shown in the OpenAPI documents.")
    VERSION: str = Field("1.0.0", description="Version reported by `/health` and the OpenAPI documents.")
    DEBUG: bool = Field(
        default=False,
        description="Serves the OpenAPI document and its interactive pages. Never changes what an error says.",
    )

    # Browsers
    CORS_ORIGINS: Annotated[list[str], NoDecode] = Field(
        ["http://localhost:3000"],
        description="Origins whose pages may call the API with credentials: "
        "comma-separated or a JSON list. `*` is refused.",
    )

    # Redis
    REDIS_URL: str = Field("redis://localhost:6379", repr=False, description="`redis://`, `rediss://` or `unix://`.")
    REDIS_PASSWORD: SecretStr | None = Field(None, description="Password, where the URL holds none.")
    REDIS_DB: int = Field(0, ge=0, le=1_000_000, description="Database number, where the URL holds none.")
    REDIS_TIMEOUT: Seconds = Field(
        0.3, description="Seconds any Redis command may take: Redis is never on the only path."
    )

    # Authentication
    SECRET_KEY: SecretStr = Field(
        description="Signs access tokens: at least 32 bytes, the same on all services (`openssl rand -hex 32`)."
    )
    ALGORITHM: Literal["HS256", "HS384", "HS512"] = Field("HS256", description="Signature algorithm of access tokens.")
    ACCESS_TOKEN_EXPIRE_MINUTES: int = Field(30, ge=1, le=1440, description="Life of an access token.")
    REFRESH_TOKEN_EXPIRE_DAYS: int = Field(7, ge=1, le=365, description="Life of a login that is not used.")
    PASSWORD_HASH_CONCURRENCY: int = Field(
        1,
        ge=1,
        le=64,
        description="Passwords hashed at once by one process; each takes 64 MiB and a core. "
        "More where there are cores to spare.",
    )

    LOGIN_ATTEMPTS_PER_ACCOUNT: int = Field(
        10, ge=1, le=1000, description="Wrong passwords for one account in one window, from wherever they come."
    )
    LOGIN_ATTEMPTS_PER_ADDRESS: int = Field(
        100, ge=1, le=1_000_000, description="Wrong passwords from one network address in one window."
    )
    LOGIN_ATTEMPTS_WINDOW: int = Field(
        900, ge=1, le=86_400, description="Length of that window in seconds, from the first wrong password on."
    )

    # Mail
    MAIL_URL: str | None = Field(
        None,
        repr=False,
        description="`smtp://user:password@host:587` (with STARTTLS), `smtps://host:465`, "
        "`smtp+plain://host:25` (no TLS), or `file:///directory`. Unset: no mail is sent.",
    )
    MAIL_FROM: str = Field("Chat Bot System <no-reply@localhost>", description="Sender of every mail.")
    MAIL_TIMEOUT: Seconds = Field(10, description="Seconds the mail server may take for one mail.")
    PUBLIC_URL: str = Field(
        "http://localhost:3000",
        description="Where the frontend is: links in mails begin with it, whatever a request says.",
    )
    EMAIL_VERIFICATION_REQUIRED: bool = Field(
        default=False,
        description="True: an account can log in once its address is verified, and registration tells nobody "
        "which addresses are taken. Needs `MAIL_URL`.",
    )
    UNVERIFIED_MAY_CHAT: bool = Field(
        default=True, description="Whether the chat service serves accounts whose address is not verified."
    )
    VERIFICATION_TOKEN_EXPIRE_HOURS: int = Field(
        24, ge=1, le=720, description="Life of a link that verifies an address."
    )
    RESET_TOKEN_EXPIRE_MINUTES: int = Field(30, ge=1, le=1440, description="Life of a link that resets a password.")

    # Model
    OPENAI_API_KEY: SecretStr | None = Field(
        None,
        description="Key of the model's API. The chat service needs it or `OPENAI_BASE_URL`; the others do not.",
    )
    OPENAI_BASE_URL: str | None = Field(
        None, description="Base URL of any OpenAI-compatible engine, `/v1` included. Unset: OpenAI itself."
    )
    LLM_MODEL: str = Field("gpt-4", min_length=1, max_length=200, description="The model that answers.")
    LLM_FALLBACK_MODEL: str = Field(
        "gpt-3.5-turbo",
        max_length=2000,
        description="The model that answers when the first cannot; several, comma-separated, are asked in this order. "
        "Empty: none.",
    )
    LLM_MODELS: Annotated[list[ModelSetting], NoDecode] = Field(
        [],
        max_length=1000,
        description="Other models that a client may name, as a JSON list of names or of objects with `name` and, "
        "if they are to differ from the price list, `context_window` in tokens and `prompt_price` and "
        "`completion_price` in US dollars for a million tokens. An object may name the two models above as well.",
    )
    LLM_CONTEXT_WINDOW: int = Field(
        4096,
        ge=1,
        le=100_000_000,
        description="Tokens that a model can look at, where neither `LLM_MODELS` nor the price list knows.",
    )
    LLM_MAX_TOKENS: int = Field(2048, ge=1, le=1_000_000, description="Most tokens one answer may have.")
    LLM_TEMPERATURE: float = Field(0.7, ge=0, le=2, allow_inf_nan=False, description="Sampling temperature.")
    LLM_CACHE_TTL: int = Field(
        3600,
        ge=0,
        le=31_536_000,
        description="Seconds an answer is given again to whoever asks exactly the same. 0: never.",
    )
    LLM_CACHE_SCOPE: Literal["user", "global"] = Field(
        "user", description="Who may get a cached answer: only the user it was made for, or everybody (`global`)."
    )
    LLM_TURN_TIMEOUT: Seconds = Field(
        60,
        description="Deadline of one turn: all attempts at all models together, until a streamed answer begins. "
        "The gateway waits 80 s.",
    )
    LLM_ATTEMPT_TIMEOUT: Seconds = Field(30, description="Deadline of one attempt at one model.")
    LLM_STREAM_PAUSE: Seconds = Field(20, description="Longest pause between two pieces of a streamed answer.")
    LLM_STREAM_TIMEOUT: Seconds = Field(
        300, le=900, description="Longest time a streamed answer may take from its first piece to its last."
    )
    LLM_RETRIES_PER_MODEL: int = Field(
        1, ge=0, le=10, description="Repeated attempts at a model before the next is tried."
    )
    LLM_BREAKER_FAILURES: int = Field(
        5, ge=1, le=1_000_000, description="Failures of a model in a row after which it is left alone for a while."
    )
    LLM_BREAKER_PAUSE: Seconds = Field(
        10, description="Length of that while in seconds. Then one attempt is let through, to see whether it is well."
    )
    LLM_HISTORY_MESSAGES: int = Field(
        10,
        ge=0,
        le=200,
        description="Earlier messages of the session sent with a question, at most: as many of them as fit the model.",
    )
    LLM_SUMMARY_ENABLED: bool = Field(
        default=True,
        description="Whether the model takes notes of messages that are too old to be sent, which are sent instead.",
    )
    LLM_SUMMARY_MESSAGES: int = Field(
        8, ge=1, le=100, description="Messages that it takes notes of at once: few, if it is a small model."
    )
    LLM_SYSTEM_PROMPT: str = Field(
        DEFAULT_SYSTEM_PROMPT,
        min_length=1,
        max_length=16_000,
        description="What the model is told before anything else. What a session asks for comes after it.",
    )

    # Logging
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Least severe level logged."
    )
    LOG_JSON: bool = Field(default=True, description="One JSON object a line. False: lines of `LOG_FORMAT`.")
    LOG_FORMAT: str = Field(
        "%(asctime)s - %(name)s - %(levelname)s - %(message)s", description="Line format when `LOG_JSON` is false."
    )

    # Limits
    RATE_LIMIT_REQUESTS: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Requests an account may make in any window, with all its devices and API keys together.",
    )
    RATE_LIMIT_REQUESTS_PER_ADDRESS: int = Field(
        2000,
        ge=1,
        le=1_000_000,
        description="Requests that may come from one network address (of IPv6, from 64 bits of it) in any window. "
        "More where many people share one.",
    )
    RATE_LIMIT_WINDOW: int = Field(60, ge=1, le=86_400, description="Length of these windows in seconds.")
    STREAMS_PER_USER: int = Field(
        20, ge=1, le=10_000, description="Event streams an account may have open at once at one process."
    )

    # Quotas
    QUOTA_TOKENS_PER_DAY: int = Field(
        0,
        ge=0,
        le=10**15,
        description="Tokens, of questions and answers together, that an account may use in a day (UTC). 0: no limit.",
    )
    QUOTA_TOKENS_PER_MONTH: int = Field(0, ge=0, le=10**15, description="The same for a month.")
    QUOTA_COST_PER_DAY: Dollars = Field(
        Decimal(0), description="US dollars that an account's answers may cost in a day (UTC). 0: no limit."
    )
    QUOTA_COST_PER_MONTH: Dollars = Field(Decimal(0), description="The same for a month.")

    # Webhooks
    WEBHOOK_SECRET: SecretStr | None = Field(
        None,
        description="Signs webhooks to endpoints without a secret of their own: `whsec_` and 24 to 64 bytes in base64. "
        "Several, with spaces between them, all sign: while receivers learn the new one.",
    )
    WEBHOOK_TIMEOUT: Seconds = Field(
        30, description="Seconds a receiver may take, from the look-up of its name to the end of its answer."
    )
    WEBHOOK_ALLOWED_HOSTS: Annotated[list[str], NoDecode] = Field(
        [],
        max_length=1000,
        description="Receivers inside, which are refused otherwise: `host`, `host:port`, an address or a network such "
        "as `10.1.0.0/16`; comma-separated or a JSON list.",
    )

    # Retention
    RETENTION_SESSION_DAYS: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days without a question after which a session is deleted, as if by its owner. 0: never.",
    )
    RETENTION_DELIVERY_DAYS: int = Field(
        30, ge=1, le=3650, description="Days for which it is kept what receivers of webhooks were told."
    )

    # Lifecycle
    SHUTDOWN_GRACE: Seconds = Field(
        15,
        description="Seconds a stopping service may take: running turns may finish until 3 s before, "
        "then they are cut short and stored.",
    )

    @field_validator("CORS_ORIGINS", "WEBHOOK_ALLOWED_HOSTS", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return _json_list(value)
        return [entry.strip() for entry in value.split(",") if entry.strip()]

    @field_validator("CORS_ORIGINS")
    @classmethod
    def _check_origins(cls, origins: list[str]) -> list[str]:
        for origin in origins:
            if "*" in origin:
                raise ValueError("'*' cannot be combined with credentials; list the origins")
            parts = _split_url(origin, {"http", "https"})
            if parts.path or parts.query or parts.fragment or parts.username:
                raise ValueError("an origin is scheme://host[:port] and nothing more")
        return origins

    @field_validator("WEBHOOK_ALLOWED_HOSTS")
    @classmethod
    def _check_allowed_hosts(cls, entries: list[str]) -> list[str]:
        AllowedHosts.parse(entries)
        return entries

    @field_validator("LLM_MODELS", mode="before")
    @classmethod
    def _read_models(cls, value: object) -> object:
        if isinstance(value, str):
            value = _json_list(value) if value.strip() else []
        if not isinstance(value, list):
            raise ValueError("not a valid JSON list")  # noqa: TRY004 - pydantic takes no other
        return [{"name": item} if isinstance(item, str) else item for item in value]

    @field_validator("LLM_MODELS")
    @classmethod
    def _check_models(cls, models: list[ModelSetting]) -> list[ModelSetting]:
        if len({model.name for model in models}) < len(models):
            raise ValueError("a model is there twice")
        return models

    @field_validator("REDIS_URL")
    @classmethod
    def _check_redis_url(cls, url: str) -> str:
        _split_url(url, {"redis", "rediss", "unix"}, host_required=not url.startswith("unix:"))
        return url

    @field_validator("MAIL_URL")
    @classmethod
    def _check_mail_url(cls, url: str | None) -> str | None:
        if url is not None:
            is_file = url.startswith("file:")
            parts = _split_url(url, {"smtp", "smtps", "smtp+plain", "file"}, host_required=not is_file)
            if is_file and (parts.netloc or not parts.path.strip("/")):
                raise ValueError("file:///directory names a directory of this machine")
        return url

    @field_validator("MAIL_FROM")
    @classmethod
    def _check_mail_from(cls, sender: str) -> str:
        if not parseaddr(sender)[1] or any(character in sender for character in "\r\n"):
            raise ValueError("must be an address, or `Name <address>`")
        return sender

    @field_validator("PUBLIC_URL")
    @classmethod
    def _check_public_url(cls, url: str) -> str:
        parts = _split_url(url, {"http", "https"})
        if parts.query or parts.fragment or parts.username:
            raise ValueError("a base URL is scheme://host[:port][/path] and nothing more")
        return url.rstrip("/")

    @field_validator("OPENAI_API_KEY", "OPENAI_BASE_URL", "REDIS_PASSWORD", "WEBHOOK_SECRET", "MAIL_URL", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        # Compose files and shells pass an unset variable on as an empty one.
        return None if value == "" else value

    @field_validator("OPENAI_BASE_URL")
    @classmethod
    def _check_base_url(cls, url: str | None) -> str | None:
        if url is not None:
            _split_url(url, {"http", "https"})
        return url

    @field_validator("SECRET_KEY")
    @classmethod
    def _check_secret_key(cls, key: SecretStr) -> SecretStr:
        if len(key.get_secret_value().encode()) < MINIMUM_SECRET_BYTES:
            raise ValueError(f"must have at least {MINIMUM_SECRET_BYTES} bytes; `openssl rand -hex 32` makes one")
        return key

    @field_validator("WEBHOOK_SECRET")
    @classmethod
    def _check_webhook_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not parse_secrets(secret.get_secret_value()):
            raise ValueError("must not be blank")
        return secret

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Those in `WEBHOOK_SECRET`."""
        return parse_secrets(self.WEBHOOK_SECRET.get_secret_value()) if self.WEBHOOK_SECRET else ()

    @property
    def fallback_models(self) -> tuple[str, ...]:
        """The names in `LLM_FALLBACK_MODEL`."""
        return tuple(name for part in self.LLM_FALLBACK_MODEL.split(",") if (name := part.strip()))

    @model_validator(mode="after")
    def _check_mail(self) -> Self:
        if self.EMAIL_VERIFICATION_REQUIRED and self.MAIL_URL is None:
            raise ValueError("EMAIL_VERIFICATION_REQUIRED: needs MAIL_URL, or nobody could ever log in")
        return self

    @model_validator(mode="after")
    def _check_timeouts(self) -> Self:
        if self.LLM_ATTEMPT_TIMEOUT > self.LLM_TURN_TIMEOUT:
            raise ValueError("LLM_ATTEMPT_TIMEOUT: must not exceed LLM_TURN_TIMEOUT")
        return self


class ConfigurationError(SystemExit):
    """A setting is missing or wrong. Ends the process with one line that says which and why."""

    def __init__(self, problems: str) -> None:
        super().__init__(f"configuration: {problems}")


@lru_cache
def get_settings() -> Settings:
    """Read the settings once per process. For entry modules and the command line only.

    Raises:
        ConfigurationError: naming each setting that is missing or wrong, without its value.

    """
    return _read(Settings)


def get_database_settings() -> DatabaseSettings:
    """Read only where the database is. For Alembic and the command line.

    Raises:
        ConfigurationError: as `get_settings`.

    """
    return _read(DatabaseSettings)


def _read(kind: type[_S]) -> _S:
    try:
        return kind()
    except ValidationError as error:
        raise ConfigurationError(_describe(error)) from None


def _describe(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(part) for part in problem["loc"])
        reason = "is required" if problem["type"] == "missing" else problem["msg"].removeprefix("Value error, ")
        problems.append(f"{name}: {reason}" if name else reason)
    return "; ".join(problems)


def _json_list(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("not a valid JSON list") from None


def _split_url(url: str, schemes: set[str], *, host_required: bool = True) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("not a valid URL") from None
    if parts.scheme not in schemes:
        raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in sorted(schemes))}")
    if (host_required and not parts.hostname) or port == 0 or any(character.isspace() for character in url):
        raise ValueError("not a valid URL")
    return parts
