"""TLS in front of a server that has none, as hosted databases have it."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[[], Awaitable[Streams]]

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""PostgreSQL manual, "Message Formats": SSLRequest, which the server answers with one byte before the TLS handshake."""


def postgresql_at(directory: str, port: int) -> Open:
    """Return a function that opens a connection to PostgreSQL at a Unix socket."""
    return lambda: asyncio.open_unix_connection(str(Path(directory, f".s.PGSQL.{port}")))


@contextmanager
def running_tls_server(tls: ssl.SSLContext, open_server: Open, *, is_postgresql: bool) -> Iterator[int]:
    """Pass connections on to another server after a TLS handshake, in a thread. Yields the port on localhost."""
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()
    started: list[int] = []
    is_started = threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if is_postgresql:
                assert await reader.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST, "a connection without TLS"
                writer.write(b"S")
                await writer.start_tls(tls)
            server_reader, server_writer = await open_server()
            await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))

    async def run() -> None:
        server = await asyncio.start_server(serve, "localhost", 0, ssl=None if is_postgresql else tls)
        started.append(server.sockets[0].getsockname()[1])
        is_started.set()
        await stopping.wait()
        server.close()

    def run_until_stopped() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=run_until_stopped)
    thread.start()
    assert is_started.wait(timeout=60)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
