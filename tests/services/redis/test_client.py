"""Client of Redis with the URLs that the settings accept."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
import trustme
from redis import Redis

from app.config import Settings
from app.services.redis.client import is_reachable, open_redis
from tests.support.tls_server import running_tls_server

USER, PASSWORD = "u@\u00fc", "p:w/?#[]@ +%\u00e9"


@pytest.fixture
def user(redis: Redis) -> Iterator[None]:
    redis.acl_setuser(USER, enabled=True, passwords=[f"+{PASSWORD}"], commands=["+@all"], keys=["*"])
    yield
    redis.acl_deluser(USER)


async def _client_user(settings: Settings, url: str, password: str | None) -> tuple[str, int]:
    """Return the user and the database of a connection."""
    values = settings.model_dump() | {"REDIS_URL": url, "REDIS_PASSWORD": password}
    client = open_redis(Settings.model_validate(values))
    try:
        assert await is_reachable(client, max_seconds=10)
        info = await client.client_info()
        user = await client.acl_whoami()
        return user.decode() if isinstance(user, bytes) else user, int(info["db"])
    finally:
        await client.aclose()


async def test_user_password_and_database_of_the_url(settings: Settings, user: None) -> None:
    del user
    scheme, _, rest = settings.REDIS_URL.partition("://")
    address = rest.rpartition("@")[2]
    name, password = quote(USER, safe=""), quote(PASSWORD, safe="")
    own = f"{scheme}://{name}:{password}@{address}?db=7"
    from_setting = f"{scheme}://{name}@{address}?db=7"
    query = f"{scheme}://{address}?username={name}&password={password}&db=7"
    for url, setting in ((own, None), (own, "another"), (from_setting, PASSWORD), (query, None)):
        assert await _client_user(settings, url, setting) == (USER, 7)


async def test_a_wrong_password_makes_redis_unreachable(settings: Settings, user: None) -> None:
    del user
    scheme, _, rest = settings.REDIS_URL.partition("://")
    url = f"{scheme}://{quote(USER, safe='')}:x@{rest.rpartition('@')[2]}"
    client = open_redis(settings.model_copy(update={"REDIS_URL": url}))
    assert not await is_reachable(client, max_seconds=10)
    await client.aclose()


async def test_encrypted_connections(settings: Settings, tmp_path: Path) -> None:
    authority = trustme.CA()
    trusted, other = tmp_path / "trusted.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(trusted)
    trustme.CA().cert_pem.write_to_path(other)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    socket = settings.REDIS_URL.removeprefix("unix://").partition("?")[0]

    async def is_usable(host: str, **parameters: str) -> bool:
        url = f"rediss://{host}:{port}?{urlencode(parameters)}"
        client = open_redis(settings.model_copy(update={"REDIS_URL": url}))
        try:
            return await is_reachable(client, max_seconds=10)
        finally:
            await client.aclose()

    with running_tls_server(tls, lambda: asyncio.open_unix_connection(socket), is_postgresql=False) as port:
        assert await is_usable("localhost", ssl_ca_certs=str(trusted))
        assert await is_usable("127.0.0.1", ssl_cert_reqs="none", ssl_check_hostname="false")
        # Another authority, another host, and the certificates of the system.
        assert not await is_usable("localhost", ssl_ca_certs=str(other))
        assert not await is_usable("127.0.0.1", ssl_ca_certs=str(trusted))
        assert not await is_usable("localhost")
