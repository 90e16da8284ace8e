"""URLs of hosted databases, for both drivers."""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from app.config import Settings
from app.config.database_url import parse_database_url
from app.database.connection import Database
from app.database.drivers import asyncpg_arguments, sync_engine
from tests.fixtures.database import Sql


def with_parameters(url: str, **parameters: str) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    return urlunsplit(parts._replace(query=query))


async def ask_both(settings: Settings, url: str, question: str) -> tuple[object, object]:
    """Return the answers of PostgreSQL to a statement through both drivers."""
    engine = sync_engine(url)
    with engine.connect() as connection:
        sync_answer = connection.scalar(text(question))
    engine.dispose()
    database = Database.from_settings(settings.model_copy(update={"DATABASE_URL": url}), application_name="ours")
    try:
        async with database.driver_connection() as driver_connection:
            return sync_answer, await driver_connection.fetchval(question)
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("parameters", "question", "answer"),
    [
        ({"application_name": "theirs"}, "SHOW application_name", "theirs"),
        ({"options": "-c search_path=pg_catalog"}, "SHOW search_path", "pg_catalog"),
        ({"connect_timeout": "7", "target_session_attrs": "read-write"}, "SELECT 1", 1),
        ({"channel_binding": "prefer", "gssencmode": "disable", "sslmode": "prefer"}, "SELECT 1", 1),
    ],
)
async def test_parameters_work_with_both_drivers(
    settings: Settings, parameters: dict[str, str], question: str, answer: object
) -> None:
    assert await ask_both(settings, with_parameters(settings.DATABASE_URL, **parameters), question) == (answer, answer)


async def test_scheme_may_be_postgres(settings: Settings) -> None:
    url = settings.DATABASE_URL.replace("postgresql://", "postgres://")
    assert await ask_both(settings, url, "SELECT 1") == (1, 1)


async def test_next_host_is_tried_if_the_first_does_not_answer(settings: Settings, tmp_path: Path) -> None:
    url = parse_database_url(settings.DATABASE_URL)
    parameters = {"host": f"{tmp_path},{url.hosts[0]}", "port": f"{url.ports[0]},{url.ports[0]}"}
    credentials = urlsplit(settings.DATABASE_URL).netloc.rpartition("@")[0]
    several = f"postgresql://{credentials}@/{url.database}?{urlencode(parameters)}"
    assert await ask_both(settings, several, "SELECT 1") == (1, 1)


@pytest.fixture
def odd_database(database: Sql) -> Iterator[str]:
    """A database whose name has to be percent-encoded."""
    name = "d /\u00fc%?"
    database.do(f'CREATE DATABASE "{name.replace("%", "%%")}"')
    yield name
    database.do(f'DROP DATABASE "{name.replace("%", "%%")}" WITH (FORCE)')


async def test_percent_encoded_parts(settings: Settings, odd_database: str) -> None:
    address = parse_database_url(settings.DATABASE_URL)
    host, user, password, name = (
        quote(text or "", safe="") for text in (address.hosts[0], address.user, address.password, odd_database)
    )
    port = address.ports[0]
    question = "SELECT current_user || ' ' || current_database()"
    for url in (
        f"postgresql://{user}:{password}@{host}:{port}/{name}",
        f"postgres:///?host={host}&port={port}&user={user}&password={password}&dbname={name}",
    ):
        assert await ask_both(settings, url, question) == (f"{address.user} {odd_database}",) * 2


def test_parts_of_a_url() -> None:
    url = parse_database_url("postgresql://u%40x:p%3Aw@h1:5433,[::1],h3/d%20b?sslmode=require")
    assert (url.hosts, url.ports) == (("h1", "::1", "h3"), (5433, 5432, 5432))
    assert (url.database, url.user, url.password) == ("d b", "u@x", "p:w")
    assert url.parameters == {"sslmode": "require"}
    assert parse_database_url("postgresql://u@/d?host=%2Fsock&port=1").ports == (1,)


def test_certificates_of_the_system_verify_the_server() -> None:
    arguments = asyncpg_arguments("postgresql://u@h/d?sslrootcert=system")
    assert isinstance(arguments["ssl"], ssl.SSLContext)
    assert arguments["ssl"].verify_mode == ssl.CERT_REQUIRED
    assert "dsn" not in arguments


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(rest: str) -> None:
    with suppress(ValueError):
        assert parse_database_url(f"postgresql://{rest}").database
