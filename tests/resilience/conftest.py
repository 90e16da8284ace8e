from collections.abc import Iterator

import pytest

from tests.support.request_timeout import production_request_timeout


@pytest.fixture(scope="package", autouse=True)
def request_timeout() -> Iterator[None]:
    """The timeout of production: these tests measure how long requests take during an outage."""
    with production_request_timeout():
        yield
