"""Connections to PostgreSQL with TLS, through both drivers."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import psycopg2
import pytest
import trustme
from sqlalchemy.exc import OperationalError

from app.config import Settings
from app.config.database_url import parse_database_url
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.drivers import sync_engine
from tests.database.test_drivers import ask_both
from tests.support.tls_server import postgresql_at, running_tls_server


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> str:
    """File with the certificate that clients trust."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def port(settings: Settings, tls: ssl.SSLContext) -> Iterator[int]:
    address = parse_database_url(settings.DATABASE_URL)
    with running_tls_server(tls, postgresql_at(address.hosts[0], address.ports[0]), is_postgresql=True) as port:
        yield port


def url(settings: Settings, port: int, host: str = "localhost", **parameters: str) -> str:
    address = parse_database_url(settings.DATABASE_URL)
    return f"postgresql://{address.user}@{host}:{port}/{address.database}?{urlencode(parameters)}"


async def assert_refused_by_both(settings: Settings, refused: str) -> None:
    engine = sync_engine(refused)
    with pytest.raises((OperationalError, psycopg2.OperationalError)):
        engine.connect()
    database = Database.from_settings(settings.model_copy(update={"DATABASE_URL": refused}), application_name="ours")
    with pytest.raises(DatabaseUnavailableError):
        await database.ping()
    await database.close()


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_encrypted_connections(settings: Settings, port: int, trusted: str, mode: str) -> None:
    encrypted = url(settings, port, sslmode=mode, sslrootcert=trusted)
    assert await ask_both(settings, encrypted, "SELECT 1") == (1, 1)


async def test_a_certificate_for_another_host_is_refused(settings: Settings, port: int, trusted: str) -> None:
    await assert_refused_by_both(settings, url(settings, port, "127.0.0.1", sslmode="verify-full", sslrootcert=trusted))


async def test_a_certificate_of_another_authority_is_refused(settings: Settings, port: int, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    await assert_refused_by_both(settings, url(settings, port, sslmode="verify-ca", sslrootcert=str(other)))


async def test_certificates_of_the_client(
    settings: Settings, authority: trustme.CA, tls: ssl.SSLContext, port: int, trusted: str, tmp_path: Path
) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    await assert_refused_by_both(settings, url(settings, port, sslmode="verify-full", sslrootcert=trusted))
    own, key = tmp_path / "own.pem", tmp_path / "own.key"
    issued = authority.issue_cert("chat@localhost")
    issued.cert_chain_pems[0].write_to_path(own)
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    with_own = url(settings, port, sslmode="verify-full", sslrootcert=trusted, sslcert=str(own), sslkey=str(key))
    assert await ask_both(settings, with_own, "SELECT 1") == (1, 1)
