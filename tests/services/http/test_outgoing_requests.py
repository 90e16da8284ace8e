"""Requests of the SSRF-safe client: content, size limits, timeouts, name resolution and TLS."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme

from app.services.http import ssrf_safe_client
from app.services.http.ssrf_safe_client import MAX_RESPONSE_BYTES, OutgoingRequestError, SsrfSafeClient
from tests.services.http.outgoing_requests import ALL_HOSTS, post
from tests.support.provider import NEVER
from tests.support.receiver import Receiver, floods, hangs, replies, running_receiver, sends
from tests.support.waiting import LONGEST_WAIT


async def test_url_headers_and_body_are_sent_unchanged(client: SsrfSafeClient, receiver: Receiver) -> None:
    receiver.script(replies(202, {"X-Answer": "yes"}))
    reply = await post(client, f"http://127.0.0.1:{receiver.port}/a%20b/c?d=e#f")
    (request,) = receiver.requests
    assert request.line == "POST /a%20b/c?d=e HTTP/1.1"
    assert request.body == b"{}"
    assert request.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "connection": "close",
        "webhook-id": "1",
        "content-length": "2",
    }
    assert reply.status == 202
    assert ("X-Answer", "yes") in reply.headers


async def test_each_request_uses_a_new_connection(client: SsrfSafeClient, receiver: Receiver) -> None:
    await post(client, receiver.url)
    await post(client, receiver.url)
    assert receiver.connections == 2


OK_HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"


async def test_an_endless_body_is_read_up_to_the_limit(client: SsrfSafeClient, receiver: Receiver) -> None:
    receiver.script(floods(OK_HEADERS, b"x" * MAX_RESPONSE_BYTES))
    started = time.monotonic()
    assert (await post(client, receiver.url, max_seconds=LONGEST_WAIT)).status == 200
    assert time.monotonic() - started < 30


async def test_an_endless_body_in_tiny_chunks_is_read_up_to_a_number_of_chunks(
    client: SsrfSafeClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0

    async def read_and_count(stream: Any, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ANN401, ASYNC109 - signature of the original
        nonlocal reads
        reads += 1
        return await original(stream, max_bytes, timeout)

    original = ssrf_safe_client._BoundedNetworkStream.read
    monkeypatch.setattr(ssrf_safe_client._BoundedNetworkStream, "read", read_and_count)
    receiver.script(floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000))
    assert (await post(client, receiver.url, max_seconds=LONGEST_WAIT)).status == 200
    # Up to the limit of bytes there would be 32.
    assert reads <= 10


async def test_endless_headers_are_an_error(client: SsrfSafeClient, receiver: Receiver) -> None:
    receiver.script(floods(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 1000 + b"\r\n"))
    with pytest.raises(OutgoingRequestError, match="protocol"):
        await post(client, receiver.url, max_seconds=LONGEST_WAIT)


async def test_endless_interim_responses_are_an_error_and_do_not_block_other_tasks(
    client: SsrfSafeClient, receiver: Receiver
) -> None:
    interim = b"HTTP/1.1 100 \r\n\r\n"
    receiver.script(floods(interim, interim * 4000))
    iterations = 0

    async def count_iterations() -> None:
        nonlocal iterations
        while True:
            await asyncio.sleep(0)
            iterations += 1

    other = asyncio.create_task(count_iterations())
    with pytest.raises(OutgoingRequestError, match="protocol"):
        await post(client, receiver.url, max_seconds=LONGEST_WAIT)
    other.cancel()
    # Independent of time: read in large pieces, the response would leave only a few iterations.
    assert iterations >= MAX_RESPONSE_BYTES // 4096


async def test_compressed_bodies_are_not_decompressed(client: SsrfSafeClient, receiver: Receiver) -> None:
    receiver.script(sends(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nno!"))
    assert (await post(client, receiver.url)).status == 200


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        pytest.param(hangs(), "timeout", id="hangs"),
        pytest.param(sends(*(bytes([byte]) for byte in OK_HEADERS), every=0.05), "timeout", id="drips"),
        pytest.param(sends(b"HTTP/1.1 100 Continue\r\n\r\n", every=0.01, forever=True), "timeout", id="goes on"),
        pytest.param(sends(b"220 mail.example ESMTP\r\n"), "protocol", id="speaks another protocol"),
        pytest.param(sends(b""), "protocol", id="hangs up"),
    ],
)
async def test_a_failed_request_has_a_reason_and_ends_in_time(
    client: SsrfSafeClient, receiver: Receiver, behaviour: Callable[..., Awaitable[None]], reason: str
) -> None:
    receiver.script(behaviour)
    started = time.monotonic()
    with pytest.raises(OutgoingRequestError, match=reason):
        await post(client, receiver.url, max_seconds=0.5 if reason == "timeout" else LONGEST_WAIT)
    assert time.monotonic() - started < 30


async def test_a_failure_after_the_headers_is_ignored(client: SsrfSafeClient, receiver: Receiver) -> None:
    receiver.script(sends(OK_HEADERS, b"x", every=NEVER))
    assert (await post(client, receiver.url, max_seconds=3)).status == 200
    receiver.script(sends(OK_HEADERS + b"x"))
    assert (await post(client, receiver.url)).status == 200


async def test_a_hanging_name_resolution_ends_at_the_timeout() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    client = SsrfSafeClient(ALL_HOSTS, resolve=resolve)
    with pytest.raises(OutgoingRequestError, match="timeout"):
        await post(client, "http://slow.example/", max_seconds=0.2)
    await client.aclose()


async def test_hanging_name_resolutions_do_not_delay_other_requests(
    client: SsrfSafeClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    getaddrinfo_of_system = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - passed on
        if host.startswith("hangs"):
            release.wait(LONGEST_WAIT)
        return getaddrinfo_of_system(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    hanging = [asyncio.create_task(post(client, f"http://hangs-{n}.example/", max_seconds=3)) for n in range(20)]
    await asyncio.sleep(0.05)
    assert (await post(client, receiver.url)).status == 204
    await asyncio.to_thread(int)  # the thread pool of the process is not blocked
    assert not any(task.done() for task in hanging)
    failures = await asyncio.gather(*hanging, return_exceptions=True)
    release.set()
    assert {str(failure) for failure in failures} == {"timeout"}


async def test_a_closed_port_is_unreachable(client: SsrfSafeClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(OutgoingRequestError, match="unreachable"):
            await post(client, f"http://127.0.0.1:{unused.getsockname()[1]}/")


async def test_a_certificate_must_be_valid_for_the_host() -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("receiver.example").configure_cert(tls)
    tls_client_context = ssl.create_default_context()
    authority.configure_trust(tls_client_context)

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    client = SsrfSafeClient(ALL_HOSTS, resolve=resolve, tls=tls_client_context)
    default_tls_client = SsrfSafeClient(ALL_HOSTS, resolve=resolve)
    with running_receiver(tls=tls) as receiver:
        for host in ("receiver.example", "RECEIVER.example."):
            assert (await post(client, f"https://{host}:{receiver.port}/")).status == 204
        for host in ("other.example", "127.0.0.1"):
            with pytest.raises(OutgoingRequestError, match="tls"):
                await post(client, f"https://{host}:{receiver.port}/")
        with pytest.raises(OutgoingRequestError, match="tls"):
            await post(default_tls_client, f"https://receiver.example:{receiver.port}/")
        assert len(receiver.requests) == 2
    await client.aclose()
    await default_tls_client.aclose()
