"""Services and migrations through PgBouncer in session mode, if it is installed (Debian: `pgbouncer`)."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from app.config import Settings
from app.config.database_url import parse_database_url
from app.database import migrations
from app.database.connection import Database
from tests.support.waiting import wait_until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def pooled_url(empty_database_url: str, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database through PgBouncer, configured as the documents say."""
    url = parse_database_url(empty_database_url)
    port, directory = free_port(), Path(url.hosts[0])
    configuration = tmp_path / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host={directory} port={url.ports[0]} user={url.user}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = session\nignore_startup_parameters = jit, lock_timeout, statement_timeout\n"
    )
    command = [str(PGBOUNCER), str(configuration)]
    if os.getuid() == 0:  # it refuses to run as root
        for path in (configuration, *configuration.parents[:3]):
            path.chmod(0o755)
        command += ["-u", directory.owner()]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        pooled = f"postgresql://{url.user}@127.0.0.1:{port}/{url.database}"

        def accepts_connections() -> bool:
            try:
                psycopg2.connect(pooled, connect_timeout=2).close()
            except psycopg2.OperationalError:
                return False
            return True

        wait_until(accepts_connections)
        yield pooled
        process.terminate()


async def test_services_and_migrations_work_through_pgbouncer(settings: Settings, pooled_url: str) -> None:
    migrations.upgrade(pooled_url)
    database = Database.from_settings(
        settings.model_copy(update={"DATABASE_URL": pooled_url}), application_name="pooled"
    )
    for _number in range(3):
        async with database.driver_connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM users WHERE username = $1", "ada") == 0
            assert await connection.fetchval("SHOW timezone") == "UTC"
    await database.ping()
    await database.close()
