"""URL of PostgreSQL: what both drivers get, and what is refused before either of them sees it."""

import os
from pathlib import Path

import pytest

from app.config.database_url import parse_database_url
from app.database.drivers import asyncpg_arguments, sync_engine

CANARY = "canary-7f3a"
SUPPORTED = {
    "application_name": "a b",
    "channel_binding": "prefer",
    "connect_timeout": "7",
    "dbname": "other",
    "gssencmode": "disable",
    "host": "other",
    "options": "-c search_path=a,b",
    "passfile": "/nowhere",
    "password": "p+w %",
    "port": "5433",
    "sslcert": __file__,
    "sslcrl": __file__,
    "sslkey": __file__,
    "sslmode": "require",
    "sslpassword": "p",
    "sslrootcert": __file__,
    "ssl_max_protocol_version": "TLSv1.3",
    "ssl_min_protocol_version": "TLSv1.2",
    "target_session_attrs": "read-write",
    "user": "other",
}
UNSUPPORTED = [
    *("client_encoding", "fallback_application_name", "gssdelegation", "gsslib", "hostaddr", "keepalives"),
    *("keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts"),
    *("max_protocol_version", "min_protocol_version", "oauth_client_id", "oauth_client_secret", "oauth_issuer"),
    *("oauth_scope", "replication", "require_auth", "requirepeer", "requiressl", "scram_client_key"),
    *("scram_server_key", "service", "servicefile", "sslcertmode", "sslcompression", "sslcrldir", "sslkeylogfile"),
    *("sslnegotiation", "sslsni", "tcp_user_timeout"),
    # Of other clients.
    *("pgbouncer", "schema", "connection_limit", "pool_timeout", "prepared_statement_cache_size", "sslaccept"),
]
"""The other parameters of libpq 18."""


def encoded(value: str) -> str:
    return "".join(f"%{byte:02X}" for byte in value.encode())


@pytest.fixture(autouse=True)
def without_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)


@pytest.mark.parametrize("name", SUPPORTED)
def test_supported_parameters_arrive_at_both_drivers(name: str) -> None:
    value = SUPPORTED[name]
    base = parse_database_url("postgresql://u:p@h/d")
    url = parse_database_url(f"postgresql://u:p@h/d?{name}={encoded(value)}")
    fields = {"dbname": "database", "host": "hosts", "password": "password", "port": "ports", "user": "user"}
    if field := fields.get(name):
        got = getattr(url, field)
        assert got == {"host": (value,), "port": (5433,)}.get(name, value)
        assert got != getattr(base, field)
    else:
        assert url.parameters == {name: value}
    arguments = asyncpg_arguments(f"postgresql://u:p@h/d?{name}={encoded(value)}")
    assert arguments["database"] == url.database
    assert (arguments["host"], arguments["port"]) == (list(url.hosts), list(url.ports))
    sync_engine(f"postgresql://u:p@h/d?{name}={encoded(value)}").dispose()


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_other_parameters_are_refused(name: str) -> None:
    for each in (asyncpg_arguments, sync_engine):
        with pytest.raises(ValueError, match=rf"\A{name}: is not supported\Z"):
            each(f"postgresql://u:{CANARY}@h/d?{name}={CANARY}")


PARTS = [
    ("postgres://u@h/d", ("h",), (5432,), "d", "u", None),
    ("POSTGRESQL://u@h/d", ("h",), (5432,), "d", "u", None),
    ("postgresql://u:@h/d", ("h",), (5432,), "d", "u", None),
    ("postgresql:///d", (), (), "d", None, None),
    ("postgresql://h/d", ("h",), (5432,), "d", None, None),
    ("postgresql://:5433/d", (), (5433,), "d", None, None),
    ("postgresql://u@h:/d", ("h",), (5432,), "d", "u", None),
    ("postgresql://u@[2001:db8::1]:5433/d", ("2001:db8::1",), (5433,), "d", "u", None),
    ("postgresql://u@[fe80::1%25eth0]/d", ("fe80::1%eth0",), (5432,), "d", "u", None),
    ("postgresql://u@a:1,[::1]:2,c/d", ("a", "::1", "c"), (1, 2, 5432), "d", "u", None),
    ("postgresql://u@/d?host=/a,/b&port=1,2", ("/a", "/b"), (1, 2), "d", "u", None),
    ("postgresql://u@/d?host=/a,b&port=1", ("/a", "b"), (1, 1), "d", "u", None),
    ("postgresql://u@%2Fvar%2Frun/d", ("/var/run",), (5432,), "d", "u", None),
    ("postgresql://u%40x:p%3A%2F%3F%23%25+@h/d%20%C3%BC", ("h",), (5432,), "d \u00fc", "u@x", "p:/?#%+"),
    ("postgresql://u:p:w@h/d", ("h",), (5432,), "d", "u", "p:w"),
    ("postgresql://u@h/d?password=a+b&password=c+d", ("h",), (5432,), "d", "u", "c+d"),
    ("postgresql://u@h/d?", ("h",), (5432,), "d", "u", None),
    ("postgresql://u@h/d?port=5433&", ("h",), (5433,), "d", "u", None),
]


@pytest.mark.parametrize(("text", "hosts", "ports", "database", "user", "password"), PARTS)
def test_parts(
    text: str, hosts: tuple[str, ...], ports: tuple[int, ...], database: str, user: str | None, password: str | None
) -> None:
    url = parse_database_url(text)
    assert (url.hosts, url.ports, url.database, url.user, url.password) == (hosts, ports, database, user, password)
    assert url.parameters == {}


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("ssl=true", {"sslmode": "require"}),
        ("ssl=true&sslmode=disable", {"sslmode": "disable"}),
        ("connect_timeout=0", {}),
        ("sslrootcert=system", {"sslrootcert": "system", "sslmode": "verify-full"}),
        ("options=-c%20a%3Db", {"options": "-c a=b"}),
        ("options=-c+a%3Db%2Bc", {"options": "-c a=b+c"}),
    ],
)
def test_parameters_as_libpq_reads_them(query: str, parameters: dict[str, str]) -> None:
    assert parse_database_url(f"postgresql://u@h/d?{query}").parameters == parameters


REFUSED = [
    ("postgresql+psycopg2://u:{}@h/d", "must start with postgresql://"),
    ("postgresql+asyncpg://u:{}@h/d", "must start with postgresql://"),
    ("mysql://u:{}@h/d", "must start with postgresql://"),
    ("jdbc:postgresql://u:{}@h/d", "must start with postgresql://"),
    ("host=h dbname=d password={}", "not a valid URL"),
    ('"postgresql://u:{}@h/d"', "must not be in quotes"),
    ("postgresql://u:{}@h", "must contain the name of a database"),
    ("postgresql://u:{}@h/", "must contain the name of a database"),
    ("postgresql://u:{}@x@h/d", "not a valid URL: an @ in a user name"),
    ("postgresql://u:{}/x@h/d", "not a valid URL"),
    ("postgresql://u:{}#x@h/d", "not a valid URL"),
    ("postgresql://u:{}?x@h/d", "not a valid URL"),
    ("postgresql://u:{} x@h/d", "not a valid URL"),
    ("postgresql://u:{}%@h/d", "not a valid URL: a % must be written as %25"),
    ("postgresql://u:{}%zz@h/d", "not a valid URL: a % must be written as %25"),
    ("postgresql://u:{}%FF@h/d", "not a valid URL: a % must be written as %25"),
    ("postgresql://u:{}%00@h/d", "not a valid URL: a % must be written as %25"),
    ("postgresql://u%00database%00x:{}@h/d", "not a valid URL: a % must be written as %25"),
    ("postgresql://u@h/d?password={}%f", "not a valid URL: a % must be written as %25"),
    ("postgresql://u:{}@h/%ff", "not a valid URL: a % must be written as %25"),
    ("postgresql://u:{}@h:0/d", "not a valid URL"),
    ("postgresql://u:{}@h:65536/d", "not a valid URL"),
    ("postgresql://u:{}@h:x/d", "not a valid URL"),
    ("postgresql://u:{}@h:\u0661/d", "not a valid URL"),
    ("postgresql://u:{}@::1/d", "not a valid URL"),
    ("postgresql://u:{}@[::1/d", "not a valid URL"),
    ("postgresql://u:{}@a,,b/d", "not a valid URL: an empty host"),
    ("postgresql://u:{}@a,b/d?port=1,2,3", "not a valid URL: as many ports as hosts"),
    ("postgresql://u:{}@/d?host=@abstract", "not a valid URL: sockets in the abstract namespace"),
    ("postgresql://u:{}@h/d?sslmode", "not a valid URL: a parameter without a value"),
    ("postgresql://u:{}@h/d?sslmode=", "sslmode: only allow, disable"),
    ("postgresql://u:{}@h/d?sslmode=yes", "sslmode: only allow, disable"),
    ("postgresql://u:{}@h/d?ssl=false", "ssl: only true is supported"),
    ("postgresql://u:{}@h/d?sslmode=verify-full", "sslrootcert: is required with sslmode=verify-full"),
    ("postgresql://u:{}@h/d?sslmode=verify-ca", "sslrootcert: is required with sslmode=verify-ca"),
    ("postgresql://u:{}@h/d?sslmode=require&sslrootcert=system", "sslrootcert: system requires"),
    ("postgresql://u:{}@h/d?sslmode=verify-full&sslrootcert=/{}", "sslrootcert: there is no such file"),
    ("postgresql://u:{}@h/d?sslcert=/{}", "sslcert: there is no such file"),
    ("postgresql://u:{}@h/d?ssl_min_protocol_version=1.2", "ssl_min_protocol_version: only TLSv1,"),
    (
        "postgresql://u:{}@h/d?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
        "ssl_min_protocol_version: must not exceed",
    ),
    ("postgresql://u:{}@h/d?channel_binding=require", "channel_binding: only disable, prefer"),
    ("postgresql://u:{}@h/d?gssencmode=require", "gssencmode: only disable, prefer"),
    ("postgresql://u:{}@h/d?target_session_attrs=master", "target_session_attrs: only any"),
    ("postgresql://u:{}@h/d?connect_timeout=-1", "connect_timeout: must be a number of seconds"),
    ("postgresql://u:{}@h/d?connect_timeout=5s", "connect_timeout: must be a number of seconds"),
    ("postgresql://u:{}@h/d?{}%20=1", "one of the parameters: is not supported"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_both_drivers_refuse_the_same_in_one_line(text: str, reason: str) -> None:
    reasons = set()
    for each in (asyncpg_arguments, sync_engine):
        with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as error:
            each(text.replace("{}", CANARY))
        reasons.add(str(error.value))
    assert len(reasons) == 1
    assert reasons.pop().startswith(reason)
    assert CANARY not in str(error.value)


def test_certificates_in_the_place_of_libpq_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://u@h/d?sslmode=verify-full"
    (tmp_path / ".postgresql").mkdir()
    file = tmp_path / ".postgresql" / "root.crt"
    file.touch()
    assert parse_database_url(url).parameters == {"sslmode": "verify-full"}
    file.unlink()
    monkeypatch.setenv("PGSSLROOTCERT", os.devnull)
    assert parse_database_url(url).parameters == {"sslmode": "verify-full"}
