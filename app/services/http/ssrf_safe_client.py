"""Requests to addresses that others have given: they reach the internet, and nothing inside that is not meant.

What a name stands for is looked up once, and checked is the very address that is then connected to. So it does not
matter how the address was spelled, nor what the name stands for a moment later. Redirects are not followed, proxies of
the environment are not asked, and no connection serves a second request.
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

from app.core.outgoing_allowlist import AllowedHosts, IpAddress

MAX_RESPONSE_BYTES = 64 * 1024
"""Bytes of an answer's content that are taken before the connection is closed on it."""
_MAX_RECEIVED_BYTES = 2 * MAX_RESPONSE_BYTES
"""Bytes that are taken in all: heads of interim answers, and the sizes of chunks, have no limit of their own."""
_READ_BYTES = 4096
"""Bytes that are read at once: what is in a piece is worked through without anybody else having a turn."""
_CONNECT_TIMEOUT = 5.0
"""What one address may take before the next of the same name is tried."""
_RESOLVER_THREADS = 32
_PORTS = {"http": 80, "https": 443}
_ERRORS = (
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
    OSError,  # of the resolver; a timeout is one, too
    UnicodeError,  # a name that no resolver can be asked for
)

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a host. Raises OSError or UnicodeError if it has none."""


class OutgoingRequestError(Exception):
    """No answer. `reason` is one of a few words and fit for a log: it repeats nothing of the address.

    `invalid_url`, `address_refused`, `name_unknown`, `unreachable`, `tls`, `protocol` or `timeout`.
    """

    def __init__(self, reason: str) -> None:
        """Name the reason."""
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """The head of an answer."""

    status: int
    headers: list[tuple[str, str]]


def parse_url(url: str) -> httpx2.URL:
    """Read the URL of a request.

    Raises:
        OutgoingError: it is none of `http` or `https`, names no host or no possible port, or holds a user.

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
    """Posts to addresses that others have given. Nothing is opened before the first request; `aclose()` ends it."""

    def __init__(
        self, allowed: AllowedHosts, *, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """`tls` replaces the system's idea of whom to trust, `resolve` the system's resolver."""
        # Resolvers block, and cannot be told to stop: one that hangs must not take the threads of all others' work.
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="resolver")
        self._network = _AllowlistBackend(allowed, resolve or self._resolve)
        self._tls = tls or httpcore2.default_ssl_context()

    async def aclose(self) -> None:
        """Give the threads back. Whoever is waiting for an address gets none."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, url: str, *, headers: Mapping[str, str], content: bytes, max_seconds: float) -> ResponseHead:
        """Post and give the answer's head, within `max_seconds` for all of it.

        Of its content up to `MAX_RESPONSE_BYTES` bytes are read and thrown away, so that who sends them is not cut off.

        Raises:
            OutgoingError: no answer.

        """
        target = parse_url(url)
        reply: ResponseHead | None = None
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
                    # Certificates do not end in a dot.
                    extensions={"sni_hostname": target.raw_host.decode().rstrip(".")},
                ) as response,
            ):
                reply = ResponseHead(response.status, [(_text(name), _text(value)) for name, value in response.headers])
                await _drain(response)
        except _ERRORS as error:
            # What happens after the head changes nothing: the head is all that counts.
            if reply is None:
                raise OutgoingRequestError(_reason(error)) from error
        return reply

    async def _resolve(self, host: str, port: int) -> list[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(sockaddr[0]) for *_, sockaddr in found]


class _AllowlistBackend(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that may be reached, and to no others."""

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
                pass  # it has more
        return await self._connect(last, port)

    async def _connect(self, address: IpAddress, port: int) -> httpcore2.AsyncNetworkStream:
        # An address is not looked up again.
        return _BoundedStream(await self._network.connect_tcp(str(address), port, timeout=_CONNECT_TIMEOUT))


class _BoundedStream(httpcore2.AsyncNetworkStream):
    """A connection that gives only so much, in small pieces: reading answers costs time of all who share the loop."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = _MAX_RECEIVED_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the interface's
        if not self._left:
            raise httpcore2.RemoteProtocolError("the answer is too long")
        piece = await self._stream.read(min(max_bytes, _READ_BYTES, self._left), timeout)
        self._left -= len(piece)
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the interface's
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *arguments: Any, **named: Any) -> httpcore2.AsyncNetworkStream:  # noqa: ANN401 - passed on
        return _BoundedStream(await self._stream.start_tls(*arguments, **named))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - the interface's
        return self._stream.get_extra_info(info)


async def _drain(response: httpcore2.Response) -> None:
    taken = 0
    async with aclosing(response.aiter_stream()) as chunks:
        async for chunk in chunks:
            taken += len(chunk)
            if taken > MAX_RESPONSE_BYTES:
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
