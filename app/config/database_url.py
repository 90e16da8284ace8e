"""URL of PostgreSQL, as libpq defines it, with the parameters that both drivers support in the same way.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from app.config.base import check_url_characters, percent_decode

_SCHEMES: Final = ("postgresql", "postgres")
_DEFAULT_PORT: Final = 5432
_PORT: Final = re.compile(r"[0-9]{1,5}")
_MAX_PORT: Final = 65_535
_FILES: Final = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})
_MAY_HAVE_PLUS: Final = frozenset({"application_name", "options"})
_TLS_VERSIONS: Final = frozenset({"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"})
_VERIFIED: Final = frozenset({"verify-ca", "verify-full"})
_VALUES: Final = {
    "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
    "target_session_attrs": frozenset({"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}),
    # The driver of the services has neither. Both drivers do without them, unless they are required.
    "channel_binding": frozenset({"prefer", "disable"}),
    "gssencmode": frozenset({"prefer", "disable"}),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
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
        "user",
    }
)
_AUTHORITY: Final = re.compile(r"(?:(?P<credentials>[^@]*)@)?(?P<hosts>[^@]*)")
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%25[\w.-]+)?\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?")


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
    check_url_characters(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("not a valid URL") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError("must start with postgresql://")
    if "#" in url:
        raise ValueError("not a valid URL: other characters than letters and digits must be percent-encoded")
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None:
        raise ValueError("not a valid URL: an @ in a user name or password must be written as %40")
    parameters = _check_parameters(parts.query)
    hosts, ports = _hosts(authority["hosts"], parameters)
    user, _, password = (authority["credentials"] or "").partition(":")
    database = parameters.pop("dbname", "") or percent_decode(parts.path.removeprefix("/"))
    if not database:
        raise ValueError("must contain the name of a database")
    return DatabaseUrl(
        hosts,
        ports,
        database,
        parameters.pop("user", "") or percent_decode(user) or None,
        # An empty password is none: both drivers look for one in PGPASSWORD and the password file.
        parameters.pop("password", "") or percent_decode(password) or None,
        parameters,
    )


def _check_parameters(query: str) -> dict[str, str]:
    parameters = _parse_query(query)
    for name, value in parameters.items():
        if name not in _PARAMETERS:
            shown = name if re.fullmatch(r"[a-z_]{1,40}", name) else "one of the parameters"
            raise ValueError(f"{shown}: is not supported")
        if name in _VALUES and value not in _VALUES[name]:
            raise ValueError(f"{name}: only {', '.join(sorted(_VALUES[name]))} are supported")
        if name in _FILES and not (name == "sslrootcert" and value == "system") and not Path(value).is_file():
            raise ValueError(f"{name}: there is no such file")
    if not re.fullmatch(r"[0-9]{1,5}", parameters.get("connect_timeout", "0")):
        raise ValueError("connect_timeout: must be a number of seconds")
    if not int(parameters.get("connect_timeout", 0)):
        parameters.pop("connect_timeout", None)  # no timeout in libpq; the services always have one
    if parameters.get("sslrootcert") == "system" and parameters.setdefault("sslmode", "verify-full") != "verify-full":
        raise ValueError("sslrootcert: system requires sslmode=verify-full")
    if parameters.get("sslmode") in _VERIFIED and "sslrootcert" not in parameters and not _has_default_certificates():
        raise ValueError(f"sslrootcert: is required with sslmode={parameters['sslmode']}; system: those of the system")
    lowest, highest = (parameters.get(f"ssl_{each}_protocol_version", "") for each in ("min", "max"))
    if lowest and highest and lowest > highest:
        raise ValueError("ssl_min_protocol_version: must not exceed ssl_max_protocol_version")
    return {name: value for name, value in parameters.items() if value}


def _parse_query(query: str) -> dict[str, str]:
    """Return the parameters of a query. As in libpq, the last one of a name counts, and a plus sign is no space.

    Exceptions are `options` and `application_name`, in which many libraries write spaces as plus signs.
    """
    parameters = {}
    for parameter in filter(None, query.split("&")):
        name, separator, value = parameter.partition("=")
        if not separator:
            raise ValueError("not a valid URL: a parameter without a value")
        parameters[percent_decode(name)] = percent_decode(value.replace("+", " ") if name in _MAY_HAVE_PLUS else value)
    if "ssl" in parameters:  # of JDBC, which libpq accepts with this value
        if parameters.pop("ssl") != "true":
            raise ValueError("ssl: only true is supported; use sslmode")
        parameters.setdefault("sslmode", "require")
    return parameters


def _has_default_certificates() -> bool:
    """Return whether there is a file where both drivers look for certificates."""
    file = os.environ.get("PGSSLROOTCERT")
    try:
        return bool(file) or Path("~/.postgresql/root.crt").expanduser().is_file()
    except RuntimeError:  # the user has no home directory
        return False


def _hosts(authority: str, parameters: dict[str, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the hosts and their ports. The parameters `host` and `port` replace those of the authority."""
    matches = [_HOST.fullmatch(entry) for entry in authority.split(",")] if authority else []
    names, numbers = [], []
    for match in matches:
        if match is None:
            raise ValueError("not a valid URL")
        names.append(percent_decode(match["host"]).strip("[]"))
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
    if any(name.startswith("@") for name in names):  # which asyncpg takes for a host
        raise ValueError("not a valid URL: sockets in the abstract namespace are not supported")
    if not all(number == "" or (_PORT.fullmatch(number) and 0 < int(number) <= _MAX_PORT) for number in numbers):
        raise ValueError("not a valid URL: the port is not valid")
    ports = tuple(int(number or _DEFAULT_PORT) for number in numbers)
    return tuple(name for name in names if name), ports
