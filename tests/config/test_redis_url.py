"""URL of Redis: what its client gets, and what is refused at start."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from redis.asyncio import SSLConnection, UnixDomainSocketConnection

from app.config import Settings
from app.services.redis.client import open_redis

CANARY = "canary-7f3a"
BASE = {"DATABASE_URL": "postgresql://u@h/d", "SECRET_KEY": "k" * 32}


def settings(url: str, **others: object) -> Settings:
    return Settings.model_validate(BASE | {"REDIS_URL": url} | others)


def connection(url: str, **others: object) -> dict[str, Any]:
    """Return the arguments of the connections that a client opens."""
    pool = open_redis(settings(url, **others)).connection_pool
    pool.connection_class(**pool.connection_kwargs)  # it checks some arguments here only
    return pool.connection_kwargs | {"class": pool.connection_class}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {"host": "h", "db": 3, "password": "fallback"}),
        ("redis://h:6380/7", {"host": "h", "port": 6380, "db": 7}),
        ("redis://h/", {"host": "h", "db": 3}),
        ("redis://h?db=7", {"db": 7}),
        ("redis://h/5?db=7", {"db": 7}),
        ("redis://[::1]:6380", {"host": "::1", "port": 6380}),
        ("redis://:pw@h", {"password": "pw"}),
        ("redis://user@h", {"username": "user", "password": "fallback"}),
        ("redis://:p,w@h", {"password": "p,w"}),
        ("redis://user:pw@h", {"username": "user", "password": "pw"}),
        ("redis://u%40:p%3A%2F%C3%BC%25@h", {"username": "u@", "password": "p:/\u00fc%"}),
        ("redis://h?username=user&password=pw", {"username": "user", "password": "pw"}),
        ("redis://h?client_name=chat&protocol=2", {"client_name": "chat", "protocol": 2}),
        ("redis://h?socket_keepalive=yes&health_check_interval=30", {"health_check_interval": 30}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock", "db": 3, "class": UnixDomainSocketConnection}),
        ("unix://user:pw@/run/r%20s?db=7", {"path": "/run/r s", "db": 7, "username": "user", "password": "pw"}),
        ("rediss://h", {"class": SSLConnection}),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false", {"ssl_cert_reqs": "none"}),
        (f"rediss://h?ssl_ca_certs={__file__}&ssl_min_version=771", {"ssl_ca_certs": __file__, "ssl_min_version": 771}),
        (f"rediss://h?ssl_ca_path={Path(__file__).parent}&ssl_ciphers=HIGH", {"ssl_ciphers": "HIGH"}),
    ],
)
def test_supported_urls(url: str, expected: dict[str, object]) -> None:
    arguments = connection(url, REDIS_PASSWORD="fallback", REDIS_DB=3)
    assert {name: arguments.get(name) for name in expected} == expected


REFUSED = [
    ("http://:{}@h", "must start with redis://"),
    ("redis:{}", "not a valid URL"),
    ("h:6379/{}", "must start with redis://"),
    ("redis+sentinel://:{}@h/mymaster", "one server only"),
    ("rediss+sentinel://:{}@h", "one server only"),
    ("sentinel://:{}@h", "one server only"),
    ("redis://:{}@a:26379,b:26379", "one server only"),
    ("redis://:{}@h/mymaster", "the path must be the number"),
    ("redis://:{}@h/-1", "the path must be the number"),
    ("redis://:{}@h/1.5", "the path must be the number"),
    ("redis://:{}@h/\u0661", "the path must be the number"),
    ("redis://:{}@h/99999999", "the path must be the number"),
    ("redis://:{}@h/1/2", "the path must be the number"),
    ("redis://:{}@h?db=-1", "db: the value is not valid"),
    ("redis://:{}@h?db=one", "the value of a parameter is not valid"),
    ("redis://:{}@h?db=", "db: the value is not valid"),
    ("redis://:{}@h?protocol=4", "protocol: the value is not valid"),
    ("redis://:{}@h?socket_keepalive=maybe", "socket_keepalive: the value is not valid"),
    ("redis://:{}@h?health_check_interval=-1", "health_check_interval: the value is not valid"),
    ("redis://:{}@h?health_check_interval=nan", "the value of a parameter is not valid"),
    *(
        (f"redis://:{{}}@h?{name}=1", f"{name}: is not supported")
        for name in (
            *("timeout", "socket_timeout", "socket_connect_timeout", "retry_on_timeout", "max_connections", "ssl"),
            *("decode_responses", "socket_read_size", "legacy_responses", "ssl_cert_reqs", "host", "port", "path"),
        )
    ),
    ("redis://:{}@h?{}%20=1", "one of the parameters: is not supported"),
    ("rediss://:{}@h?ssl_cert_reqs=maybe", "ssl_cert_reqs: the value is not valid"),
    ("rediss://:{}@h?ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs: the value is not valid"),
    ("rediss://:{}@h?ssl_check_hostname=maybe", "ssl_check_hostname: the value is not valid"),
    ("rediss://:{}@h?ssl_min_version=5", "ssl_min_version: the value is not valid"),
    ("rediss://:{}@h?ssl_ciphers={}", "ssl_ciphers: the value is not valid"),
    ("rediss://:{}@h?ssl_ca_certs=/{}", "ssl_ca_certs: there is no such file"),
    ("rediss://:{}@h?ssl_keyfile=/{}", "ssl_keyfile: there is no such file"),
    ("redis://:{}%@h", "not a valid URL: a % must be written as %25"),
    ("redis://:{}%zz@h", "not a valid URL: a % must be written as %25"),
    ("redis://:{}%ff@h", "not a valid URL: a % must be written as %25"),
    ("redis://u%00:{}@h", "not a valid URL: a % must be written as %25"),
    ("redis://h?password={}%2", "not a valid URL: a % must be written as %25"),
    ("redis://:{}/x@h", "not a valid URL"),
    ("redis://:{}#x@h", "not a valid URL"),
    ("redis://:{}@h#1", "not a valid URL"),
    ("redis://:{}@", "not a valid URL"),
    ("redis://:{}@h:0", "not a valid URL"),
    ("redis://:{}@h:99999", "not a valid URL"),
    ("redis://:{}@[::1", "not a valid URL"),
    ("unix://:{}@", "not a valid URL"),
    ("unix://:{}@/", "not a valid URL"),
    ("unix:///run/s?path=/{}", "path: is not supported"),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED)
def test_urls_that_the_client_would_not_understand_are_refused(url: str, reason: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        settings(url.replace("{}", CANARY))
    (error,) = refusal.value.errors()
    assert error["loc"] == ("REDIS_URL",)
    message = error["msg"].removeprefix("Value error, ")
    assert message.startswith(reason)
    assert message.isprintable()
    assert CANARY not in message
