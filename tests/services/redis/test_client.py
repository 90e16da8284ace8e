"""Client of Redis with the URLs that the settings accept."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from redis import Redis

from app.config import Settings
from app.services.redis.client import is_reachable, open_redis

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
