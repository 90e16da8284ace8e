"""Redis."""

import re
import ssl
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import SplitResult, parse_qsl

from pydantic import BeforeValidator, Field, SecretStr, field_validator
from redis.asyncio.connection import parse_url

from app.config.base import Seconds, SettingsBase, Url, check_line, percent_decode, split_url, strip_to_none

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


_BOOLEAN: Final = re.compile(r"(?i:true|false|yes|no|y|n|1|0|t|f)")
_ANY: Final = re.compile(r".+", re.DOTALL)
_VALUES: Final = {
    "db": re.compile(r"[0-9]{1,7}"),
    "health_check_interval": re.compile(r"[0-9]{1,5}"),
    "protocol": re.compile(r"[23]"),
    "socket_keepalive": _BOOLEAN,
    "ssl_cert_reqs": re.compile(r"none|optional|required"),
    "ssl_check_hostname": _BOOLEAN,
    "ssl_min_version": re.compile(r"77[0-2]"),
}
"""Values that the client accepts, or would accept and refuse at its first connection."""
_FILES: Final = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})


class RedisSettings(SettingsBase):
    """Connection to Redis."""

    REDIS_URL: Url = Field("redis://localhost:6379", repr=False, description="`redis://`, `rediss://` or `unix://`.")
    REDIS_PASSWORD: Annotated[SecretStr | None, BeforeValidator(strip_to_none)] = Field(
        None, description="Password, if the URL contains none."
    )
    REDIS_DB: int = Field(0, ge=0, le=1_000_000, description="Database number, if the URL contains none.")
    REDIS_TIMEOUT: Seconds = Field(0.3, description="Timeout of a Redis command, in seconds.")

    @field_validator("REDIS_PASSWORD")
    @classmethod
    def _check_password(cls, password: SecretStr | None) -> SecretStr | None:
        if password is not None:
            check_line(password.get_secret_value())
        return password

    @field_validator("REDIS_URL")
    @classmethod
    def _check_redis_url(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        hosts = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
        if "sentinel" in scheme or "," in hosts:
            raise ValueError("one server only: neither Sentinel nor several hosts are supported")
        is_socket = scheme.lower() == "unix"
        parts = split_url(url, {"redis", "rediss", "unix"}, host_required=not is_socket)
        if not is_socket and not re.fullmatch(r"(/[0-9]{0,7})?", parts.path):
            raise ValueError("the path must be the number of a database")
        if "#" in url or (is_socket and not parts.path.strip("/")):
            raise ValueError("not a valid URL")
        for part in (parts.username, parts.password, parts.path, parts.query):
            percent_decode(part or "")
        _check_parameters(url, parts)
        return url


def _check_parameters(url: str, parts: SplitResult) -> None:
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    allowed = _PARAMETERS | _TLS_PARAMETERS if parts.scheme == "rediss" else _PARAMETERS
    if unknown := parameters.keys() - allowed:
        shown = sorted(name for name in unknown if re.fullmatch(r"[a-z_]{1,40}", name))
        raise ValueError(f"{', '.join(shown) or 'one of the parameters'}: is not supported")
    try:
        parse_url(url)
    except ValueError:
        raise ValueError("the value of a parameter is not valid") from None
    for name, value in parameters.items():
        if not _VALUES.get(name, _ANY).fullmatch(value):
            raise ValueError(f"{name}: the value is not valid")
        if name in _FILES and not Path(value).exists():
            raise ValueError(f"{name}: there is no such file")
        if name == "ssl_ciphers":
            _check_ciphers(value)


def _check_ciphers(names: str) -> None:
    try:
        ssl.create_default_context().set_ciphers(names)
    except ssl.SSLError:
        raise ValueError("ssl_ciphers: the value is not valid") from None
