"""URL of PostgreSQL, as libpq defines it, with the parameters that both drivers support in the same way.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_SCHEMES: Final = ("postgresql", "postgres")
_DEFAULT_PORT: Final = 5432
_FILES: Final = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})
_VALUES: Final = {
    "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
    "target_session_attrs": frozenset({"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}),
    # The driver of the services has neither. Both drivers do without them, unless they are required.
    "channel_binding": frozenset({"prefer", "disable"}),
    "gssencmode": frozenset({"prefer", "disable"}),
}
"""Allowed values of the parameters that have some."""
_PARAMETERS: Final = frozenset(
    {
        *_VALUES,
        *_FILES,
        "application_name",
        "connect_timeout",
        "dbname",
        "host",
        "options",
        "passfile",
        "password",
        "port",
        "sslpassword",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "user",
    }
)
_AUTHORITY: Final = re.compile(r"(?:(?P<credentials>[^@]*)@)?(?P<hosts>[^@]*)")
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(?P<port>\d*))?")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """The parts of a URL."""

    hosts: tuple[str, ...]
    """Names, addresses or directories of Unix sockets, which are tried in this order. Empty: the driver's default."""
    ports: tuple[int, ...]
    """One for each host; a single one without hosts."""
    database: str
    user: str | None
    password: str | None
    parameters: Mapping[str, str]
    """The other parameters."""


def parse_database_url(url: str) -> DatabaseUrl:
    """Return the parts of a URL.

    Raises:
        ValueError: it is invalid, or has a parameter that one of the drivers does not support. The message does not
            contain its values.

    """
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError("not a valid URL") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError("must start with postgresql://")
    if any(character.isspace() for character in url) or parts.fragment:
        raise ValueError("not a valid URL: other characters than letters and digits must be percent-encoded")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None:
        raise ValueError("not a valid URL: an @ in a user name or password must be written as %40")
    parameters = _check_parameters(query)
    hosts, ports = _hosts(authority["hosts"], parameters)
    user, colon, password = (authority["credentials"] or "").partition(":")
    database = parameters.pop("dbname", "") or unquote(parts.path.removeprefix("/"))
    if not database:
        raise ValueError("must contain the name of a database")
    return DatabaseUrl(
        hosts,
        ports,
        database,
        parameters.pop("user", "") or unquote(user) or None,
        parameters.pop("password", "") or (unquote(password) if colon else None),
        parameters,
    )


def _check_parameters(query: list[tuple[str, str]]) -> dict[str, str]:
    parameters = dict(query)
    for name, value in parameters.items():
        if name not in _PARAMETERS:
            shown = name if re.fullmatch(r"[a-z_]{1,40}", name) else "one of the parameters"
            raise ValueError(f"{shown}: is not supported")
        if name in _VALUES and value not in _VALUES[name]:
            raise ValueError(f"{name}: only {', '.join(sorted(_VALUES[name]))} are supported")
        if name in _FILES and not (name == "sslrootcert" and value == "system") and not Path(value).is_file():
            raise ValueError(f"{name}: there is no such file")
    if not re.fullmatch(r"\d{1,5}", parameters.get("connect_timeout", "0")):
        raise ValueError("connect_timeout: must be a number of seconds")
    if parameters.get("sslrootcert") == "system" and parameters.setdefault("sslmode", "verify-full") != "verify-full":
        raise ValueError("sslrootcert: system requires sslmode=verify-full")
    return {name: value for name, value in parameters.items() if value}


def _hosts(authority: str, parameters: dict[str, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the hosts and their ports. The parameters `host` and `port` replace those of the authority."""
    matches = [_HOST.fullmatch(entry) for entry in authority.split(",")] if authority else []
    names, numbers = [], []
    for match in matches:
        if match is None:
            raise ValueError("not a valid URL")
        names.append(unquote(match["host"]).strip("[]"))
        numbers.append(match["port"] or "")
    if host := parameters.pop("host", ""):
        names = host.split(",")
        numbers = numbers if len(numbers) == len(names) else [""] * len(names)
    if port := parameters.pop("port", ""):
        numbers = port.split(",")
        numbers = numbers * len(names) if len(numbers) == 1 and names else numbers
    if len(numbers) != max(len(names), 1) and (names or numbers):
        raise ValueError("not a valid URL: as many ports as hosts, or one")
    if len(names) > 1 and not all(names):
        raise ValueError("not a valid URL: an empty host")
    if not all(number == "" or (number.isdecimal() and 0 < int(number) <= 65_535) for number in numbers):  # noqa: PLR2004
        raise ValueError("not a valid URL: the port is not valid")
    ports = tuple(int(number or _DEFAULT_PORT) for number in numbers)
    return tuple(name for name in names if name), ports
