"""SSRF-safe HTTP client for URLs that users supply.

A host name is resolved once, and the connection is opened to the address that was checked, so that neither unusual
notations of an address nor DNS rebinding bypass the check. The client does not follow redirects, ignores the proxies of
the environment, and uses each connection for one request.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import httpcore2
import httpx2

from app.core.public_addresses import AllowedHosts, IpAddress

MAX_RESPONSE_BYTES = 64 * 1024
"""Maximum number of bytes of a response body that are read before the connection is closed."""
_MAX_RESPONSE_CHUNKS = 100
"""Maximum number of chunks of a body that are read. Parsing 64 KiB in chunks of one byte takes 100 times as long."""
_MAX_RECEIVED_BYTES = 2 * MAX_RESPONSE_BYTES
"""Maximum number of bytes received on a connection. It also bounds interim responses and chunk headers."""
_READ_BYTES = 4096
"""Maximum number of bytes of one read: a piece is parsed without yielding to other tasks."""
_CONNECT_TIMEOUT = 5.0
"""Timeout in seconds of a connection to one address of a host, before the next one is tried."""
_RESOLVER_THREADS = 200
"""As many as concurrent requests of the worker: waiting for a thread would look like a timeout of the receiver."""
_PORTS = {"http": 80, "https": 443}
_ERRORS = (
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
    OSError,  # raised by the resolver; includes TimeoutError
    UnicodeError,  # a host name that cannot be encoded for DNS
)

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Takes host and port, and returns the addresses of the host. Raises OSError or UnicodeError if there are none."""


class OutgoingRequestError(Exception):
    """A request got no response. `reason` is safe for logs, because it contains nothing of the URL.

    It is one of `invalid_url`, `address_refused`, `name_unknown`, `unreachable`, `tls`, `protocol` and `timeout`.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """Status and headers of a response."""

    status: int
    headers: list[tuple[str, str]]


def parse_url(url: str) -> httpx2.URL:
    """Parse the URL of a request.

    Raises:
        OutgoingRequestError: the scheme is not `http` or `https`, the host is missing, the port is invalid, or the URL
            contains a user name.

    """
    try:
        parts = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        raise OutgoingRequestError("invalid_url") from error
    port = _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
    if parts.scheme not in _PORTS or not parts.raw_host or parts.userinfo or not 0 < port < 2**16:
        raise OutgoingRequestError("invalid_url")
    return parts


class SsrfSafeClient:
    """HTTP client that connects to public and explicitly allowed addresses only. Close it with `aclose()`."""

    def __init__(
        self, allowed: AllowedHosts, *, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """`resolve` replaces the system's resolver, `tls` the system's trust store."""
        # Name resolution blocks and cannot be cancelled: one that hangs must not occupy the default thread pool.
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="resolver")
        self._network = _AllowlistBackend(allowed, resolve or self._resolve)
        self._tls = tls or httpcore2.default_ssl_context()

    async def aclose(self) -> None:
        """Release the resolver threads. Pending name resolutions are cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, url: str, *, headers: Mapping[str, str], content: bytes, max_seconds: float) -> ResponseHead:
        """Send a POST request, and return status and headers of the response, within `max_seconds`.

        Up to `MAX_RESPONSE_BYTES` of the body, in up to `_MAX_RESPONSE_CHUNKS` chunks, are read and discarded, so that
        the server can complete the response.

        Raises:
            OutgoingRequestError: there is no response.

        """
        target = parse_url(url)
        head: ResponseHead | None = None
        try:
            async with (
                asyncio.timeout(max_seconds),
                httpcore2.AsyncConnectionPool(ssl_context=self._tls, network_backend=self._network) as pool,
                pool.stream(
                    "POST",
                    httpcore2.URL(
                        scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path
                    ),
                    headers=[("Host", target.netloc.decode()), ("Connection", "close"), *headers.items()],
                    content=content,
                    # Names in certificates do not end in a dot.
                    extensions={"sni_hostname": target.raw_host.decode().rstrip(".")},
                ) as response,
            ):
                head = ResponseHead(response.status, [(_text(name), _text(value)) for name, value in response.headers])
                await _drain(response)
        except _ERRORS as error:
            # A failure after the headers is ignored: only status and headers matter.
            if head is None:
                raise OutgoingRequestError(_reason(error)) from error
        return head

    async def _resolve(self, host: str, port: int) -> list[str]:
        results = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(sockaddr[0]) for *_, sockaddr in results]


class _AllowlistBackend(httpcore2.AsyncNetworkBackend):
    """Network backend that resolves host names and connects to permitted addresses only."""

    def __init__(self, allowed: AllowedHosts, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *_: object, **__: object) -> httpcore2.AsyncNetworkStream:
        addresses = [ip_address(text) for text in await self._resolve(host, port)]
        permitted = [address for address in addresses if self._allowed.permits(host.rstrip("."), port, address)]
        if not permitted:
            raise OutgoingRequestError("address_refused")
        *others, last = permitted
        for address in others:
            try:
                return await self._connect(address, port)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                pass  # try the next address
        return await self._connect(last, port)

    async def _connect(self, address: IpAddress, port: int) -> httpcore2.AsyncNetworkStream:
        # The argument is an address, so the backend does not resolve it again.
        return _BoundedNetworkStream(await self._network.connect_tcp(str(address), port, timeout=_CONNECT_TIMEOUT))


class _BoundedNetworkStream(httpcore2.AsyncNetworkStream):
    """Connection that limits the total number of bytes received, and reads them in small pieces."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._remaining = _MAX_RECEIVED_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - signature of the base class
        if not self._remaining:
            raise httpcore2.RemoteProtocolError("the response is too long")
        piece = await self._stream.read(min(max_bytes, _READ_BYTES, self._remaining), timeout)
        self._remaining -= len(piece)
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - signature of the base class
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *arguments: Any, **named: Any) -> httpcore2.AsyncNetworkStream:  # noqa: ANN401 - passed on
        return _BoundedNetworkStream(await self._stream.start_tls(*arguments, **named))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - signature of the base class
        return self._stream.get_extra_info(info)


async def _drain(response: httpcore2.Response) -> None:
    received = count = 0
    async with aclosing(response.aiter_stream()) as chunks:
        async for chunk in chunks:
            received += len(chunk)
            count += 1
            if received > MAX_RESPONSE_BYTES or count >= _MAX_RESPONSE_CHUNKS:
                return


def _text(header: bytes) -> str:
    return header.decode("latin-1")  # RFC 9110, section 5.5


def _reason(error: Exception) -> str:
    match error:
        case TimeoutError() | httpcore2.TimeoutException():
            return "timeout"
        case socket.gaierror() | UnicodeError():
            return "name_unknown"
        case httpcore2.ProtocolError():
            return "protocol"
        case httpcore2.ConnectError(args=[ssl.SSLError()]):
            return "tls"
        case _:
            return "unreachable"
