"""The gateway in front of replicas of the chat service that come and go: a real Nginx, and small servers behind it."""

import socket
import time
from collections.abc import Iterator
from threading import Thread

import httpx
import pytest

from local.ports import MAX_CHAT_REPLICAS, PortError, Ports
from tests.fixtures.servers import temporary_home
from tests.local.gateway_site import running_gateway

PATH = "/api/v1/chat/sessions"


class Replica:
    """Server that answers with its port, or closes connections after it has received a request."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.requests: list[str] = []
        self.breaks = False
        self._socket: socket.socket | None = None

    def start(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.port))
        Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                self.requests.append(connection.recv(65_536).decode().partition(" ")[0])
                if not self.breaks:
                    body = str(self.port)
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                    connection.sendall((head + body).encode())

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[str, list[Replica]]]:
    with temporary_home() as home, running_gateway(home, {"CHAT_REPLICAS": "3"}) as url:
        ports = Ports.of(int(url.rpartition(":")[2]), chat_replicas=3)
        yield url, [Replica(port) for port in (ports.chat, *ports.chat_replicas)]


@pytest.fixture
def replicas(site: tuple[str, list[Replica]]) -> Iterator[list[Replica]]:
    for replica in site[1]:
        replica.breaks = False
        replica.requests.clear()
        replica.start()
    time.sleep(2.1)  # Nginx tries a replica again that an earlier test has stopped
    yield site[1]
    for replica in site[1]:
        replica.stop()


@pytest.fixture
def client(site: tuple[str, list[Replica]]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site[0], trust_env=False) as client:
        yield client


def test_all_replicas_get_requests(client: httpx.Client, replicas: list[Replica]) -> None:
    assert {client.get(PATH).text for _ in range(9)} == {str(replica.port) for replica in replicas}


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_no_request_fails_while_a_replica_is_away_and_it_is_found_again(
    client: httpx.Client, replicas: list[Replica], method: str
) -> None:
    replicas[0].stop()
    answered = {client.request(method, PATH).text for _ in range(12)}
    assert answered == {str(replica.port) for replica in replicas[1:]}
    replicas[0].start()
    time.sleep(2.1)
    assert str(replicas[0].port) in {client.request(method, PATH).text for _ in range(9)}


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_request_that_was_sent_is_not_repeated(client: httpx.Client, replicas: list[Replica], method: str) -> None:
    for replica in replicas:
        replica.breaks = True
    response = client.request(method, PATH, json={"message": "Hi"})
    assert (response.status_code, response.json()["code"]) == (502, "bad_gateway")
    assert sum(len(replica.requests) for replica in replicas) == 1


def test_a_reading_request_is_repeated(client: httpx.Client, replicas: list[Replica]) -> None:
    for replica in replicas[:2]:
        replica.breaks = True
    assert {client.get(PATH).status_code for _ in range(6)} == {200}


def test_all_replicas_away_is_a_problem_document(client: httpx.Client, replicas: list[Replica]) -> None:
    for replica in replicas:
        replica.stop()
    response = client.get(PATH)
    assert (response.status_code, response.json()["code"], response.headers["Retry-After"]) == (502, "bad_gateway", "2")


@pytest.mark.parametrize("number", [0, MAX_CHAT_REPLICAS + 1])
def test_the_number_of_replicas_is_bounded(number: int) -> None:
    with pytest.raises(PortError, match="CHAT_REPLICAS must be 1 to 16"):
        Ports.of(8080, chat_replicas=number)


def test_ports_of_a_stack_differ() -> None:
    ports = Ports.of(8080, chat_replicas=MAX_CHAT_REPLICAS)
    used = [ports.gateway, ports.auth, ports.chat, ports.admin, ports.model, *ports.chat_replicas]
    assert len(set(used)) == 5 + MAX_CHAT_REPLICAS - 1
