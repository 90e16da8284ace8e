"""Redis."""

import re
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from redis.asyncio.connection import parse_url

from app.config.base import Seconds, SettingsBase, Url, empty_to_none, split_url

_PARAMETERS: Final = frozenset(
    {"client_name", "db", "health_check_interval", "password", "protocol", "socket_keepalive", "username"}
)
"""Parameters of the URL that do not change what the services rely on, such as timeouts."""
_TLS_PARAMETERS: Final = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_ciphers",
        "ssl_keyfile",
        "ssl_min_version",
    }
)


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
        is_socket = url.startswith("unix:")
        if "sentinel" in url.partition(":")[0] or "," in urlsplit(url).netloc:
            raise ValueError("one server only: neither Sentinel nor several hosts are supported")
        parts = split_url(url, {"redis", "rediss", "unix"}, host_required=not is_socket)
        if not is_socket and not re.fullmatch(r"(/\d*)?", parts.path):
            raise ValueError("the path must be the number of a database")
        names = dict(parse_qsl(parts.query, keep_blank_values=True))
        allowed = _PARAMETERS | _TLS_PARAMETERS if parts.scheme == "rediss" else _PARAMETERS
        if unknown := names.keys() - allowed:
            shown = sorted(name for name in unknown if re.fullmatch(r"[a-z_]{1,40}", name))
            raise ValueError(f"{', '.join(shown) or 'one of the parameters'}: is not supported")
        try:
            parse_url(url)
        except ValueError:
            raise ValueError("the value of a parameter is not valid") from None
        return url
