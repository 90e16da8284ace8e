"""Queue for password hashing: limits on every route that hashes, and attempts that were not evaluated."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app import auth_main
from app.auth.hashing_queue import MAX_HASHES_PER_CLIENT
from app.auth.login_throttle import LoginAttempt, LoginThrottle
from app.auth.logins import LoginService
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.core.password_hashing import PasswordHasher
from app.core.security import hash_token
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, PASSWORD, User, assert_problem, login
from tests.support.waiting import closed_gate, eventually, wait_until

ROUTES = ["login", "register", "password", "me", "reset"]
TOKEN = "one-time-token-of-the-test"
INSERT_TOKEN = """
INSERT INTO one_time_tokens (user_id, purpose, token_hash, expires_at)
SELECT id, 'reset_password', %s, now() + interval '1 hour' FROM users WHERE uuid = %s
"""
ATTEMPTS = "SELECT coalesce(max(attempts), 0) FROM login_throttles"


class Hashing:
    """Password hashes that wait for a gate, and requests from a choice of networks, each in a thread."""

    def __init__(self, client: TestClient, monkeypatch: pytest.MonkeyPatch, gate: threading.Event) -> None:
        self.client = client
        self.passwords: list[str] = []
        """Passwords whose hashing has begun."""
        self.threads = ThreadPoolExecutor(60)
        for name in ("verify", "hash"):
            self._block(monkeypatch, name, gate)

    def _block(self, monkeypatch: pytest.MonkeyPatch, name: str, gate: threading.Event) -> None:
        original = getattr(PasswordHasher, name)

        async def wait_and_run(hasher: PasswordHasher, password: str, *arguments: object) -> Any:  # noqa: ANN401
            self.passwords.append(password)
            await eventually(gate.is_set)
            return await original(hasher, password, *arguments)

        monkeypatch.setattr(PasswordHasher, name, wait_and_run)

    def start(self, route: str, user: User, network: str = "198.51.100.1", password: str = "guess") -> Any:  # noqa: ANN401
        return self.threads.submit(self.send, route, user, network, password)

    def send(self, route: str, user: User, network: str, password: str) -> Response:
        self.client._transport.client = (network, 50000)  # type: ignore[attr-defined]
        name = f"new{threading.get_ident()}{len(self.passwords)}"
        url = f"{AUTH}/{'password/reset' if route == 'reset' else route}"
        match route:
            case "login":
                return self.client.post(url, data={"username": user.username, "password": password})
            case "register":
                body = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
                return self.client.post(url, json=body)
            case "password":
                body = {"current_password": password, "new_password": PASSWORD}
                return self.client.put(url, json=body, headers=user.headers)
            case "me":
                return self.client.request("DELETE", url, json={"password": password}, headers=user.headers)
            case _:
                return self.client.post(url, json={"token": TOKEN, "new_password": PASSWORD})


@pytest.fixture(scope="module")
def queue_service(settings: Settings, cheap_passwords: None) -> Iterator[TestClient]:
    many = settings.model_copy(update={"REQUESTS_PER_CLIENT": 16, "QUEUED_REQUESTS_PER_CLIENT": 256})
    with TestClient(auth_main.create(many)) as client:
        yield client


@pytest.fixture
def impatient_service(settings: Settings, cheap_passwords: None, sql: Sql) -> Iterator[TestClient]:
    """An auth service whose requests wait shortly for the hasher."""
    with TestClient(auth_main.create(settings.model_copy(update={"PASSWORD_HASH_QUEUE_TIMEOUT": 0.05}))) as client:
        yield client


@pytest.mark.parametrize("route", ROUTES)
def test_network_is_limited_on_every_route_that_hashes_and_others_are_next(
    queue_service: TestClient, ada: User, bob: User, sql: Sql, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    sql.do(INSERT_TOKEN, [hash_token(TOKEN), ada.id])
    with closed_gate() as gate:
        hashing = Hashing(queue_service, monkeypatch, gate)
        requests = [hashing.start(route, ada) for _ in range(30)]
        wait_until(lambda: sum(request.done() for request in requests) == 30 - MAX_HASHES_PER_CLIENT)
        assert len(hashing.passwords) == 1
        elsewhere = hashing.start("login", bob, "203.0.113.1", "from elsewhere")
        for request in requests:
            if request.done():
                refused = request.result()
                assert_problem(refused, 429, "too_many_logins")
                assert refused.headers["Retry-After"]
        _wait_for_requests(queue_service, 1 + MAX_HASHES_PER_CLIENT)
        gate.set()
        assert elsewhere.result().status_code == 401
        statuses = Counter(request.result().status_code for request in requests)
    assert statuses[429] >= 30 - MAX_HASHES_PER_CLIENT
    assert hashing.passwords.index("from elsewhere") <= 2  # a change of the password hashes twice in its turn


def _wait_for_requests(client: TestClient, count: int) -> None:
    """Wait until a number of requests hash, or wait for it."""
    service: LoginService = client.app_state["auth"].logins
    wait_until(lambda: sum(service.hashing.queue.stats()[name] for name in ("running", "waiting")) == count)


@pytest.mark.parametrize("route", ["password", "me"])
def test_account_is_limited_from_many_networks(
    queue_service: TestClient, ada: User, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    with closed_gate() as gate:
        hashing = Hashing(queue_service, monkeypatch, gate)
        requests = [hashing.start(route, ada, f"198.51.100.{number}") for number in range(30)]
        wait_until(lambda: sum(request.done() for request in requests) == 30 - MAX_HASHES_PER_CLIENT)
        gate.set()
        assert {request.result().status_code for request in requests} >= {429}


@pytest.mark.parametrize("route", ROUTES)
def test_waiting_has_a_deadline_and_is_not_an_attempt(
    impatient_service: TestClient, ada: User, sql: Sql, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    sql.do(INSERT_TOKEN, [hash_token(TOKEN), ada.id])
    with closed_gate() as gate:
        hashing = Hashing(impatient_service, monkeypatch, gate)
        running = hashing.start("register", ada)
        wait_until(lambda: len(hashing.passwords) == 1)
        for _ in range(12):
            refused = hashing.send(route, ada, "203.0.113.1", PASSWORD)
            assert_problem(refused, 503, "too_many_logins")
            assert refused.headers["Retry-After"] == "1"
        assert sql.value(ATTEMPTS) == 0
        gate.set()
        assert running.result().status_code == 201
    assert login(impatient_service, "ada").status_code == 200


FAILURES = [DatabaseUnavailableError, asyncio.CancelledError, RuntimeError]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("route", ["login", "password", "me"])
def test_attempts_that_were_not_evaluated_are_given_back(
    auth_client: TestClient,
    ada: User,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
    route: str,
    failure: type[BaseException],
) -> None:
    async def fail(*_: object) -> bool:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(PasswordHasher, "verify", fail)
        for _ in range(12):
            with closed_gate() as gate:
                gate.set()
                response = Hashing(auth_client, pytest.MonkeyPatch(), gate).send(route, ada, "198.51.100.1", PASSWORD)
            assert response.status_code >= 500
    wait_until(lambda: sql.value(ATTEMPTS) == 0)
    assert login(auth_client, "ada").status_code == 200


def test_attempt_is_given_back_although_the_service_stops(
    settings: Settings, ada: User, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> bool:
        raise RuntimeError

    async def refund_slowly(throttle: LoginThrottle, attempt: LoginAttempt) -> None:
        await asyncio.sleep(0.5)  # longer than the response waits
        await refund(throttle, attempt)

    refund = LoginThrottle.refund
    monkeypatch.setattr(LoginThrottle, "refund", refund_slowly)
    monkeypatch.setattr(PasswordHasher, "verify", fail)
    with TestClient(auth_main.create(settings), raise_server_exceptions=False) as client:
        assert login(client, "ada").status_code == 500
        assert sql.value(ATTEMPTS) == 1
    assert sql.value(ATTEMPTS) == 0


def test_correct_password_is_no_attempt_if_login_cannot_be_stored(
    auth_client: TestClient, ada: User, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise DatabaseUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(LoginService, "_open", fail)
        for _ in range(12):
            assert_problem(login(auth_client, "ada"), 503, "database_unavailable")
    wait_until(lambda: sql.value(ATTEMPTS) == 0)
    assert login(auth_client, "ada").status_code == 200


def test_name_over_its_limit_does_not_use_up_the_attempts_of_its_network(
    queue_service: TestClient, ada: User, sql: Sql, make_user: Callable[[str], User]
) -> None:
    make_user("carol")
    queue_service._transport.client = ("198.51.100.9", 50000)  # type: ignore[attr-defined]
    statuses = Counter(login(queue_service, "ada", "guess").status_code for _ in range(120))
    assert statuses == {401: 10, 429: 110}
    assert sql.value("SELECT attempts FROM login_throttles WHERE starts_with(key, 'network:198.51.100.9')") == 10
    assert login(queue_service, "carol").status_code == 200
