"""Readiness and stop of the components of a local stack. The end-to-end tests run them."""

import os
import socket

from app.worker import lifespan, webhook_delivery
from local.redis import Redis
from local.services import WORKER_STOP_TIMEOUT, FirstAdmin
from tests.fixtures.database import Sql
from tests.fixtures.servers import temporary_home


def test_redis_that_accepts_connections_but_does_not_respond_is_not_ready() -> None:
    """A busy machine may take longer to respond than the check waits."""
    with temporary_home() as home, socket.socket(socket.AF_UNIX) as silent:
        server = Redis(home)
        server._socket.parent.mkdir(parents=True, exist_ok=True)
        silent.bind(str(server._socket))
        silent.listen()
        assert not server._responds()
        server.stop()


def test_worker_has_time_to_stop_its_jobs_and_its_deliveries() -> None:
    assert lifespan._STOP_TIMEOUT + webhook_delivery._STOP_TIMEOUT < WORKER_STOP_TIMEOUT


def test_first_admin_who_was_demoted_neither_stops_a_start_nor_is_created_again(database_url: str, sql: Sql) -> None:
    with temporary_home() as home:
        step = FirstAdmin(home, os.environ | {"DATABASE_URL": database_url, "ADMIN_PASSWORD": ""}, None)
        step.start()
        assert sql.rows("SELECT email, role FROM users") == [{"email": "admin@example.com", "role": "admin"}]
        sql.do("UPDATE users SET role = 'user'")
        step.start()
        sql.do("DELETE FROM users")
        step.start()
        assert sql.value("SELECT count(*) FROM users") == 0
