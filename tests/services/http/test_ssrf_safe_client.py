"""The SSRF-safe client: internal addresses are unreachable."""

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest

from app.core.public_addresses import AllowedHosts
from app.services.http.ssrf_safe_client import OutgoingRequestError, ResponseHead, SsrfSafeClient
from tests.services.http.outgoing_requests import ALL_HOSTS, post
from tests.support.receiver import Receiver, replies, running_receiver
from tests.support.waiting import eventually

EXTERNAL_ADDRESS = "127.0.0.2"
"""A second loopback address, in place of an external one: no test connects to another machine."""


class InternalListener:
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
def internal_listener() -> Iterator[InternalListener]:
    listener = InternalListener()
    yield listener
    listener.close()


@pytest.fixture
async def default_client() -> AsyncIterator[SsrfSafeClient]:
    client = SsrfSafeClient(AllowedHosts())
    yield client
    await client.aclose()


async def count_connections(request: Coroutine[Any, Any, ResponseHead], internal_listener: InternalListener) -> int:
    """Make a request that connects and gets no response, and return the number of its connections."""
    task, count = asyncio.create_task(request), 0

    def has_connected() -> bool:
        nonlocal count
        count += internal_listener.connections()
        return count > 0

    await eventually(has_connected)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return count + internal_listener.connections()


# URLs of internal addresses, in every spelling that a resolver or a parser of URLs might understand.
INTERNAL_URLS = [
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
INTERNAL_IPV6_URLS = [
    "http://[::1]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[0:0:0:0:0:ffff:7f00:0001]:{port}/",
]
UNREACHABLE_URLS = [  # or to another host, on some machines
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


@pytest.mark.parametrize("url", INTERNAL_URLS + INTERNAL_IPV6_URLS + UNREACHABLE_URLS)
async def test_internal_addresses_are_refused_in_every_spelling(
    default_client: SsrfSafeClient, internal_listener: InternalListener, url: str
) -> None:
    with pytest.raises(OutgoingRequestError) as refusal:
        await post(default_client, url.replace("{port}", str(internal_listener.port)))
    assert refusal.value.reason in {"address_refused", "invalid_url", "name_unknown"}
    assert internal_listener.connections() == 0


@pytest.mark.parametrize("url", INTERNAL_URLS + INTERNAL_IPV6_URLS)
async def test_the_spellings_reach_internal_addresses_if_they_are_allowed(
    client: SsrfSafeClient, internal_listener: InternalListener, url: str
) -> None:
    """Check that the URLs of the test above reach the listener unless they are refused."""
    if url in INTERNAL_IPV6_URLS and not internal_listener.has_ipv6:
        pytest.skip("this machine has no IPv6")
    assert (
        await count_connections(post(client, url.replace("{port}", str(internal_listener.port))), internal_listener)
        == 1
    )


async def test_a_redirect_is_not_followed(internal_listener: InternalListener) -> None:
    client = SsrfSafeClient(AllowedHosts.parse([EXTERNAL_ADDRESS]))
    with running_receiver(EXTERNAL_ADDRESS) as receiver:
        for status in (301, 302, 303, 307, 308):
            receiver.script(replies(status, {"Location": f"http://127.0.0.1:{internal_listener.port}/"}))
            assert (await post(client, receiver.url)).status == status
        receiver.script(replies(200, {"Refresh": f"0; url=http://127.0.0.1:{internal_listener.port}/"}))
        await post(client, receiver.url)
    await client.aclose()
    assert internal_listener.connections() == 0


async def test_dns_rebinding_does_not_reach_internal_addresses(internal_listener: InternalListener) -> None:
    answers = iter([[EXTERNAL_ADDRESS], ["127.0.0.1"], ["127.0.0.1"]])
    resolutions = 0

    async def resolve(_host: str, _port: int) -> list[str]:
        nonlocal resolutions
        resolutions += 1
        return next(answers)

    client = SsrfSafeClient(AllowedHosts.parse([EXTERNAL_ADDRESS]), resolve=resolve)
    with running_receiver(EXTERNAL_ADDRESS) as receiver:
        url = f"http://rebinding.example:{receiver.port}/"
        assert (await post(client, url)).status == 204
        assert resolutions == 1  # the checked address is the one that was connected to
        with pytest.raises(OutgoingRequestError, match="address_refused"):
            await post(client, url)
        assert len(receiver.requests) == 1
        assert receiver.requests[0].headers["host"] == f"rebinding.example:{receiver.port}"
    with pytest.raises(OutgoingRequestError, match="address_refused"):
        await post(client, f"http://rebinding.example:{internal_listener.port}/")
    await client.aclose()
    assert internal_listener.connections() == 0


async def test_internal_addresses_of_a_host_with_several_are_skipped(internal_listener: InternalListener) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1", "::1", EXTERNAL_ADDRESS, "169.254.169.254"]

    client = SsrfSafeClient(AllowedHosts.parse([EXTERNAL_ADDRESS]), resolve=resolve)
    # The listener has the allowed address as well.
    assert (
        await count_connections(post(client, f"http://mixed.example:{internal_listener.port}/"), internal_listener) == 1
    )
    await client.aclose()


@pytest.mark.parametrize("addresses", [["127.0.0.3", EXTERNAL_ADDRESS], [EXTERNAL_ADDRESS, "127.0.0.3"]])
@pytest.mark.parametrize("is_reachable", [True, False])
async def test_a_permitted_address_permits_no_other_address_of_the_name(
    addresses: list[str], *, is_reachable: bool
) -> None:
    """Each address has a listener of its own, so a connection to the other one cannot be mistaken."""

    async def resolve(_host: str, _port: int) -> list[str]:
        return addresses

    client = SsrfSafeClient(AllowedHosts.parse([EXTERNAL_ADDRESS]), resolve=resolve)
    with running_receiver(EXTERNAL_ADDRESS if is_reachable else "127.0.0.4") as receiver:
        url = f"http://hooks.example.com:{receiver.port}/"
        with socket.create_server(("127.0.0.3", receiver.port)) as internal:
            internal.settimeout(0)
            if is_reachable:
                await post(client, url)
                assert receiver.connections == 1
            else:
                with pytest.raises(OutgoingRequestError, match="unreachable"):
                    await post(client, url)
            with pytest.raises(BlockingIOError):
                internal.accept()
    await client.aclose()


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.3", EXTERNAL_ADDRESS]

    client = SsrfSafeClient(ALL_HOSTS, resolve=resolve)
    with running_receiver(EXTERNAL_ADDRESS) as receiver:
        assert (await post(client, f"http://two.example:{receiver.port}/")).status == 204
    await client.aclose()


async def test_proxies_of_the_environment_are_ignored(
    default_client: SsrfSafeClient, internal_listener: InternalListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{internal_listener.port}")
    for url in ("http://127.0.0.5/", "https://127.0.0.5/"):
        with pytest.raises(OutgoingRequestError, match="address_refused"):
            await post(default_client, url)
    assert internal_listener.connections() == 0


async def test_an_allowed_host_is_reachable_at_its_port_only(
    receiver: Receiver, internal_listener: InternalListener
) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    client = SsrfSafeClient(AllowedHosts.parse([f"localhost:{receiver.port}"]), resolve=resolve)
    for host in ("localhost", "LOCALHOST", "localhost."):
        assert (await post(client, f"http://{host}:{receiver.port}/hook?a=b")).status == 204
    for url in (f"http://localhost:{internal_listener.port}/", f"http://127.0.0.1:{receiver.port}/"):
        with pytest.raises(OutgoingRequestError, match="address_refused"):
            await post(client, url)
    await client.aclose()
    assert len(receiver.requests) == 3
    assert internal_listener.connections() == 0
