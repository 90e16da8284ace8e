from collections.abc import AsyncIterator, Iterator

import pytest

from app.services.http.ssrf_safe_client import SsrfSafeClient
from tests.services.http.outgoing_requests import ALL_HOSTS
from tests.support.receiver import Receiver, running_receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def client() -> AsyncIterator[SsrfSafeClient]:
    """Client that may connect to this machine."""
    client = SsrfSafeClient(ALL_HOSTS)
    yield client
    await client.aclose()
