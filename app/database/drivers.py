"""Arguments of both drivers for one URL: asyncpg for the services, psycopg2 for migrations and most commands."""

import ssl
from typing import Any, Final
from urllib.parse import urlencode

import psycopg2
from sqlalchemy import Engine, create_engine

from app.config.database_url import DatabaseUrl, parse_database_url

_CONNECT_TIMEOUT: Final = 5
"""Timeout of a connection of psycopg2 in seconds, if the URL has none."""
_UNKNOWN_TO_ASYNCPG: Final = frozenset(
    {"channel_binding", "gssencmode", "connect_timeout", "application_name", "options"}
)
"""Parameters that asyncpg would send to the server under these names."""


def sync_engine(database_url: str) -> Engine:
    """Return an engine of psycopg2."""
    arguments = _psycopg2_arguments(parse_database_url(database_url))
    return create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(**arguments), hide_parameters=True)


def asyncpg_arguments(database_url: str) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect`, without `server_settings` that the URL does not set."""
    url = parse_database_url(database_url)
    parameters = {name: value for name, value in url.parameters.items() if name not in _UNKNOWN_TO_ASYNCPG}
    arguments: dict[str, Any] = {
        "user": url.user,
        "password": url.password,
        "database": url.database,
        "host": list(url.hosts) or None,
        "port": list(url.ports) or None,
        "server_settings": {
            name: url.parameters[name] for name in ("application_name", "options") if name in url.parameters
        },
    }
    if parameters.get("sslrootcert") == "system":
        # asyncpg takes it for the name of a file.
        del parameters["sslrootcert"], parameters["sslmode"]
        arguments["ssl"] = ssl.create_default_context()
    if parameters:
        arguments["dsn"] = f"postgresql:///?{urlencode(parameters)}"
    if timeout := int(url.parameters.get("connect_timeout", 0)):
        arguments["timeout"] = timeout
    return {name: value for name, value in arguments.items() if value is not None}


def _psycopg2_arguments(url: DatabaseUrl) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT,
        **url.parameters,
        "dbname": url.database,
        "user": url.user,
        "password": url.password,
        "host": ",".join(url.hosts) or None,
        "port": ",".join(map(str, url.ports)) or None,
    }
    return {name: value for name, value in arguments.items() if value is not None}
