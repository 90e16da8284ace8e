"""TCP proxy that cuts the first event streams in the middle."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class CuttingProxy:
    """The proxy. `cuts` counts the streams that it has cut."""

    url: str
    remaining: int
    cuts: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def cut_after(self) -> int | None:
        """Return after how many bytes the stream that begins is cut. None: it is not."""
        with self.lock:
            if not self.remaining:
                return None
            self.remaining -= 1
            # In the middle of events, at different places.
            return 1500 + 137 * (self.remaining % 7)


@contextmanager
def cutting_proxy(host: str, port: int, *, cuts: int) -> Iterator[CuttingProxy]:
    """Run a proxy in front of a server that cuts the first event streams. They must have some 2500 bytes at least."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = CuttingProxy(f"http://127.0.0.1:{listener.getsockname()[1]}", cuts)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_serve, args=(proxy, client, host, port), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _serve(proxy: CuttingProxy, client: socket.socket, host: str, port: int) -> None:
    with suppress(OSError), client, socket.create_connection((host, port)) as server:
        threading.Thread(target=_copy, args=(client, server), daemon=True).start()
        limit: int | None = None
        while data := server.recv(65_536):
            if b"text/event-stream" in data:
                limit = proxy.cut_after()
            if limit is not None and len(data) >= limit:
                # Not between the line of the id and the blank line after it: fetch-event-source takes over an id before
                # its event is complete, and loses the event then. The standard takes it over with the event.
                end = limit + 1 if data[limit - 1 : limit + 1] == b"\n\n" else limit
                client.sendall(data[:end])
                proxy.cuts += 1
                # Closing alone would not end the connection, because another thread reads from it.
                client.shutdown(socket.SHUT_RDWR)
                server.shutdown(socket.SHUT_RDWR)
                return
            client.sendall(data)
            if limit is not None:
                limit -= len(data)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
