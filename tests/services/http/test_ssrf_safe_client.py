"""The SSRF-safe client: internal addresses are unreachable, and every request ends in time."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest
import trustme

from app.core.public_addresses import AllowedHosts
from app.services.http.ssrf_safe_client import MAX_RESPONSE_BYTES, OutgoingRequestError, ResponseHead, SsrfSafeClient
from tests.support.provider import NEVER
from tests.support.receiver import Receiver, floods, hangs, replies, running_receiver, sends
from tests.support.waiting import LONGEST_WAIT, eventually

Post = Callable[[SsrfSafeClient, str], Awaitable[ResponseHead]]

ANYWHERE = AllowedHosts.parse(["0.0.0.0/0", "::/0"])
NEIGHBOUR = "127.0.0.2"
"""Stands for an address outside: no test leaves the machine."""


class Inside:
    """Listens on every address of this machine, and counts connections, of which there must be none."""

    def __init__(self) -> None:
        self.has_ipv6 = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if self.has_ipv6 else socket.AF_INET
        self._socket = socket.create_server(("", 0), family=family, dualstack_ipv6=self.has_ipv6)
        self._socket.settimeout(0)
        self.port: int = self._socket.getsockname()[1]

    def connections(self) -> int:
        """Return the number of connections since the last call."""
        count = 0
        while True:
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return count
            connection.close()
            count += 1

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def inside() -> Iterator[Inside]:
    listener = Inside()
    yield listener
    listener.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def guarded() -> AsyncIterator[SsrfSafeClient]:
    client = SsrfSafeClient(AllowedHosts())
    yield client
    await client.aclose()


@pytest.fixture
async def client() -> AsyncIterator[SsrfSafeClient]:
    """Client that may connect to this machine."""
    client = SsrfSafeClient(ANYWHERE)
    yield client
    await client.aclose()


async def post(client: SsrfSafeClient, url: str, *, max_seconds: float = LONGEST_WAIT) -> ResponseHead:
    return await client.post(url, headers={"webhook-id": "1"}, content=b"{}", max_seconds=max_seconds)


async def connections_by(request: Coroutine[Any, Any, ResponseHead], inside: Inside) -> int:
    """Make a request that connects and has no response; give how often it connected."""
    posting, count = asyncio.create_task(request), 0

    def has_connected() -> bool:
        nonlocal count
        count += inside.connections()
        return count > 0

    await eventually(has_connected)
    posting.cancel()
    with suppress(asyncio.CancelledError):
        await posting
    return count + inside.connections()


# What leads inside, in every spelling that a resolver or a parser of URLs might understand.
LEADS_INSIDE = [
    "http://127.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://127.255.255.254:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://0X7F.0.0.0x1:{port}/",
    "http://017700000001:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LocalHost:{port}/",
    "http://127。0。0。1:{port}/",
    "http://127\uff0e0\uff0e0\uff0e1:{port}/",
]
LEADS_INSIDE_BY_IPV6 = [
    "http://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[0:0:0:0:0:ffff:7f00:0001]:{port}/",
]
LEADS_NOWHERE = [  # or to another host, on some machines
    "http://outside.example\\@127.0.0.1:{port}/",
    "http://localhost.:{port}/",
    "http://0177.0.0.01:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b:1::127.0.0.1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::80ff:fffe]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://169.254.169.254:{port}/latest/meta-data/",
    "http://224.0.0.1:{port}/",
    "http://255.255.255.255:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1%00.example:{port}/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.0.1\r\nX: y:{port}/",
    "http://127.0.0.1:{port}\x00/",
    "http://user@127.0.0.1:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:-1/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:{port}0000/",
    "http:///path",
    "http://",
    "http:127.0.0.1:{port}/",
    "http://a..b:{port}/",
    "http://" + "a" * 300 + ":{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}/",
    "",
    "file:///etc/passwd",
    "file://127.0.0.1:{port}/etc/passwd",
    "gopher://127.0.0.1:{port}/_POST",
    "ftp://127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock",
    "dict://127.0.0.1:{port}/",
    "HTTP+UNIX://127.0.0.1:{port}/",
]


@pytest.mark.parametrize("url", LEADS_INSIDE + LEADS_INSIDE_BY_IPV6 + LEADS_NOWHERE)
async def test_internal_addresses_are_refused_in_every_spelling(
    guarded: SsrfSafeClient, inside: Inside, url: str
) -> None:
    with pytest.raises(OutgoingRequestError) as refusal:
        await post(guarded, url.replace("{port}", str(inside.port)))
    assert refusal.value.reason in {"address_refused", "invalid_url", "name_unknown"}
    assert inside.connections() == 0


@pytest.mark.parametrize("url", LEADS_INSIDE + LEADS_INSIDE_BY_IPV6)
async def test_the_spellings_reach_internal_addresses_if_they_are_allowed(
    client: SsrfSafeClient, inside: Inside, url: str
) -> None:
    """Without this, the test above would prove nothing."""
    if url in LEADS_INSIDE_BY_IPV6 and not inside.has_ipv6:
        pytest.skip("this machine has no IPv6")
    assert await connections_by(post(client, url.replace("{port}", str(inside.port))), inside) == 1


async def test_a_redirect_is_not_followed(inside: Inside) -> None:
    client = SsrfSafeClient(AllowedHosts.parse([NEIGHBOUR]))
    with running_receiver(NEIGHBOUR) as receiver:
        for status in (301, 302, 303, 307, 308):
            receiver.script(replies(status, {"Location": f"http://127.0.0.1:{inside.port}/"}))
            assert (await post(client, receiver.url)).status == status
        receiver.script(replies(200, {"Refresh": f"0; url=http://127.0.0.1:{inside.port}/"}))
        await post(client, receiver.url)
    await client.aclose()
    assert inside.connections() == 0


async def test_dns_rebinding_does_not_reach_internal_addresses(inside: Inside) -> None:
    answers = iter([[NEIGHBOUR], ["127.0.0.1"], ["127.0.0.1"]])
    looks = 0

    async def resolve(_host: str, _port: int) -> list[str]:
        nonlocal looks
        looks += 1
        return next(answers)

    client = SsrfSafeClient(AllowedHosts.parse([NEIGHBOUR]), resolve=resolve)
    with running_receiver(NEIGHBOUR) as receiver:
        url = f"http://rebinding.example:{receiver.port}/"
        assert (await post(client, url)).status == 204
        assert looks == 1  # the checked address is the one that was connected to
        with pytest.raises(OutgoingRequestError, match="address_refused"):
            await post(client, url)
        assert len(receiver.requests) == 1
        assert receiver.requests[0].headers["host"] == f"rebinding.example:{receiver.port}"
    with pytest.raises(OutgoingRequestError, match="address_refused"):
        await post(client, f"http://rebinding.example:{inside.port}/")
    await client.aclose()
    assert inside.connections() == 0


async def test_internal_addresses_of_a_host_with_several_are_skipped(inside: Inside) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1", "::1", NEIGHBOUR, "169.254.169.254"]

    client = SsrfSafeClient(AllowedHosts.parse([NEIGHBOUR]), resolve=resolve)
    # At the neighbour's address, which this listener has as well.
    assert await connections_by(post(client, f"http://mixed.example:{inside.port}/"), inside) == 1
    await client.aclose()


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.3", NEIGHBOUR]

    client = SsrfSafeClient(ANYWHERE, resolve=resolve)
    with running_receiver(NEIGHBOUR) as receiver:
        assert (await post(client, f"http://two.example:{receiver.port}/")).status == 204
    await client.aclose()


async def test_proxies_of_the_environment_are_ignored(
    guarded: SsrfSafeClient, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{inside.port}")
    for url in ("http://127.0.0.5/", "https://127.0.0.5/"):
        with pytest.raises(OutgoingRequestError, match="address_refused"):
            await post(guarded, url)
    assert inside.connections() == 0


async def test_an_allowed_host_is_reachable_at_its_port_only(receiver: Receiver, inside: Inside) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    client = SsrfSafeClient(AllowedHosts.parse([f"localhost:{receiver.port}"]), resolve=resolve)
    for host in ("localhost", "LOCALHOST", "localhost."):
        assert (await post(client, f"http://{host}:{receiver.port}/hook?a=b")).status == 204
    for url in (f"http://localhost:{inside.port}/", f"http://127.0.0.1:{receiver.port}/"):
        with pytest.raises(OutgoingRequestError, match="address_refused"):
            await post(client, url)
    await client.aclose()
    assert len(receiver.requests) == 3
    assert inside.connections() == 0


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


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"


async def test_an_endless_body_is_read_up_to_the_limit(client: SsrfSafeClient, receiver: Receiver) -> None:
    receiver.script(floods(OK, b"x" * MAX_RESPONSE_BYTES))
    started = time.monotonic()
    assert (await post(client, receiver.url, max_seconds=LONGEST_WAIT)).status == 200
    assert time.monotonic() - started < 30


async def test_endless_headers_are_an_error(client: SsrfSafeClient, receiver: Receiver) -> None:
    receiver.script(floods(b"HTTP/1.1 200 OK\r\n", b"X-Filler: " + b"x" * 1000 + b"\r\n"))
    with pytest.raises(OutgoingRequestError, match="protocol"):
        await post(client, receiver.url, max_seconds=LONGEST_WAIT)


async def test_endless_interim_responses_are_an_error_and_do_not_block_other_tasks(
    client: SsrfSafeClient, receiver: Receiver
) -> None:
    interim = b"HTTP/1.1 100 \r\n\r\n"
    receiver.script(floods(interim, interim * 4000))
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(take_turns())
    with pytest.raises(OutgoingRequestError, match="protocol"):
        await post(client, receiver.url, max_seconds=LONGEST_WAIT)
    other.cancel()
    # Independent of time: read in large pieces, the response would leave only a few turns.
    assert turns >= MAX_RESPONSE_BYTES // 4096


async def test_compressed_bodies_are_not_decompressed(client: SsrfSafeClient, receiver: Receiver) -> None:
    receiver.script(sends(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nno!"))
    assert (await post(client, receiver.url)).status == 200


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        pytest.param(hangs(), "timeout", id="hangs"),
        pytest.param(sends(*(bytes([byte]) for byte in OK), every=0.05), "timeout", id="drips"),
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
    receiver.script(sends(OK, b"x", every=NEVER))
    assert (await post(client, receiver.url, max_seconds=3)).status == 200
    receiver.script(sends(OK + b"x"))
    assert (await post(client, receiver.url)).status == 200


async def test_a_hanging_name_resolution_ends_at_the_timeout() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    client = SsrfSafeClient(ANYWHERE, resolve=resolve)
    with pytest.raises(OutgoingRequestError, match="timeout"):
        await post(client, "http://slow.example/", max_seconds=0.2)
    await client.aclose()


async def test_hanging_name_resolutions_do_not_delay_other_requests(
    client: SsrfSafeClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    look_up = socket.getaddrinfo

    def getaddrinfo(host: str, *arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - passed on
        if host.startswith("hangs"):
            release.wait(LONGEST_WAIT)
        return look_up(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    hanging = [asyncio.create_task(post(client, f"http://hangs-{n}.example/", max_seconds=3)) for n in range(20)]
    await asyncio.sleep(0.05)
    assert (await post(client, receiver.url)).status == 204
    await asyncio.to_thread(int)  # nor has the rest of the process to wait
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
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    client = SsrfSafeClient(ANYWHERE, resolve=resolve, tls=trusting)
    distrusting = SsrfSafeClient(ANYWHERE, resolve=resolve)
    with running_receiver(tls=tls) as receiver:
        for host in ("receiver.example", "RECEIVER.example."):
            assert (await post(client, f"https://{host}:{receiver.port}/")).status == 204
        for host in ("other.example", "127.0.0.1"):
            with pytest.raises(OutgoingRequestError, match="tls"):
                await post(client, f"https://{host}:{receiver.port}/")
        with pytest.raises(OutgoingRequestError, match="tls"):
            await post(distrusting, f"https://receiver.example:{receiver.port}/")
        assert len(receiver.requests) == 2
    await client.aclose()
    await distrusting.aclose()
