"""The whole stack with Nginx, three services, worker, PostgreSQL, Redis and the local model, started once per run."""

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

import httpx
import pytest

from app.config import Settings
from local.ports import PortError, Ports
from local.stack import Stack
from tests.fixtures.servers import temporary_home
from tests.support.waiting import LONGEST_WAIT

ADMIN_PASSWORD = "the first admin's password"
PASSWORD = "correct horse battery staple"
SETTINGS = {
    "ADMIN_PASSWORD": ADMIN_PASSWORD,
    # All requests come from one address and would exceed the default limits.
    "RATE_LIMIT_REQUESTS": "100000",
    "RATE_LIMIT_REQUESTS_PER_ADDRESS": "100000",
    # A busy machine must not look like an outage, and the model may be slow on it.
    "DATABASE_CONNECT_TIMEOUT": "10",
    "DATABASE_COMMAND_TIMEOUT": "20",
    "REDIS_TIMEOUT": "3",
    "LLM_ATTEMPT_TIMEOUT": "60",
    "SHUTDOWN_GRACE": "18",
}


class RetryingTransport(httpx.HTTPTransport):
    """Repeats requests that get a 503 response after `Retry-After`: on a busy machine services may be overloaded."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        deadline = time.monotonic() + LONGEST_WAIT
        while True:
            response = super().handle_request(request)
            if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                return response
            response.read()
            response.close()
            time.sleep(int(response.headers.get("Retry-After", 1)))


def gateway_client(stack: Stack) -> httpx.Client:
    """Return a client of the gateway without a login."""
    return httpx.Client(base_url=stack.url, timeout=300, transport=RetryingTransport(), trust_env=False)


def free_gateway_port() -> int:
    # Below the range of ephemeral ports.
    for port in random.sample(range(12_000, 32_000), 50):
        try:
            Ports.of(port).check_free(with_model=True)
        except PortError:
            continue
        return port
    pytest.fail("no free ports")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    # Settings of the developer must not replace components.
    settings = {*Settings.model_fields, "ADMIN_EMAIL"}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    with (
        temporary_home() as home,
        Stack(home, free_gateway_port(), environment | SETTINGS) as stack,
    ):
        yield stack


@pytest.fixture
def anonymous(stack: Stack) -> Iterator[httpx.Client]:
    """Client of the gateway without a login."""
    with gateway_client(stack) as client:
        yield client


@dataclass(frozen=True)
class UserClient:
    """Client of the gateway with the login of a user."""

    username: str
    client: httpx.Client
    tokens: dict[str, str]


@pytest.fixture
def make_user_client(stack: Stack) -> Iterator[Callable[[str], UserClient]]:
    """Function that registers a user, logs in, and returns the client."""
    clients: list[httpx.Client] = []

    def make(username: str) -> UserClient:
        client = gateway_client(stack)
        clients.append(client)
        account = {"email": f"{username}@example.com", "username": username, "password": PASSWORD}
        registered = client.post("/api/v1/auth/register", json=account)
        assert registered.status_code == HTTPStatus.CREATED, registered.text
        response = client.post("/api/v1/auth/login", data={"username": username, "password": PASSWORD})
        response.raise_for_status()
        client.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        return UserClient(username, client, response.json())

    yield make
    for client in clients:
        client.close()
