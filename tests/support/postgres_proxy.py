"""TCP proxy in front of PostgreSQL that loses a statement, or its confirmation, as a broken network does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from app.config.database_url import DatabaseUrl, parse_database_url

Loss = Literal["statement", "confirmation", "confirmation without an error"]
"""What is lost: the statement does not arrive; the answer to its commit does not, and the connection is closed; or the
answer does not, and the connection stays open.
"""

_COMMITTED = b"Z\x00\x00\x00\x05I"
"""`ReadyForQuery` outside a transaction, in the protocol of PostgreSQL (version 3.0, message formats)."""


@dataclass
class PostgresProxy:
    """The proxy. It loses one statement, then nothing until `lose` is called again."""

    url: str
    lost: int = 0
    """Number of statements that it has lost."""
    _text: bytes = b""
    _loss: Loss = "statement"
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def lose(self, loss: Loss, text: str) -> None:
        """Lose the next statement that has a text among its parameters."""
        with self._lock:
            self._text, self._loss = text.encode(), loss

    def take(self, data: bytes) -> Loss | None:
        """Return what is lost of the statement in data of a client. None: nothing."""
        with self._lock:
            if not self._text or self._text not in data:
                return None
            self._text = b""
            return self._loss


@contextmanager
def postgres_proxy(database_url: str) -> Iterator[PostgresProxy]:
    """Run a proxy in front of a server."""
    server = parse_database_url(database_url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        credentials = f"{quote(server.user or '')}:{quote(server.password or '')}"
        proxy = PostgresProxy(f"postgresql://{credentials}@127.0.0.1:{port}/{quote(server.database or '')}")

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                _Connection(proxy, client, _connect(server)).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _connect(server: DatabaseUrl) -> socket.socket:
    host, port = server.hosts[0], server.ports[0] if server.ports else 5432
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(Path(host, f".s.PGSQL.{port}")))
    return connection


@dataclass
class _Connection:
    proxy: PostgresProxy
    client: socket.socket
    server: socket.socket
    loss: Loss | None = None
    """What is lost on this connection, until its commit."""

    def start(self) -> None:
        for copy in (self._copy_requests, self._copy_responses):
            threading.Thread(target=copy, daemon=True).start()

    def _copy_requests(self) -> None:
        with suppress(OSError):
            while data := self.client.recv(65_536):
                self.loss = self.proxy.take(data) or self.loss
                if self.loss == "statement":
                    self.proxy.lost += 1
                    break
                self.server.sendall(data)
        self._close()

    def _copy_responses(self) -> None:
        received = b""
        with self.client, self.server:
            with suppress(OSError):
                while data := self.server.recv(65_536):
                    received = received[-len(_COMMITTED) :] + data
                    if self.loss is None or _COMMITTED not in received:
                        self.client.sendall(data)
                        continue
                    self.proxy.lost += 1
                    if self.loss == "confirmation":
                        break
                    self.loss = None
            self._close()

    def _close(self) -> None:
        # Closing a socket does not wake the thread that reads from it.
        for connection in (self.client, self.server):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
