"""Rate limits of the three services."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis

from app import admin_main, auth_main, main
from app.config import Settings
from app.database.repositories.accounts import callers
from app.http.rate_limiting import RateLimitMiddleware
from app.http.request_body import UploadDrainMiddleware
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess
from tests.fixtures.services import ADMIN, AUTH, CHAT, PASSWORD, User, assert_problem, login
from tests.fixtures.world import World
from tests.support.provider import Provider

PER_USER, PER_ADDRESS = 10, 30


@pytest.fixture(scope="module")
def strict(settings: Settings) -> Settings:
    """Low limits."""
    return settings.model_copy(
        update={
            "RATE_LIMIT_REQUESTS": PER_USER,
            "RATE_LIMIT_REQUESTS_PER_ADDRESS": PER_ADDRESS,
            "RATE_LIMIT_WINDOW": 3600,
        }
    )


class Service:
    """Client of one service with a choice of network address."""

    def __init__(self, app: FastAPI) -> None:
        self.client = TestClient(app)

    def at(self, ip: str) -> TestClient:
        self.client._transport.client = (ip, 50000)  # type: ignore[attr-defined]
        return self.client


@pytest.fixture(scope="module")
def services(strict: Settings, cheap_passwords: None) -> Iterator[dict[str, Service]]:
    services = {name: Service(module.create(strict)) for name, module in MODULES.items()}
    with services["auth"].client, services["chat"].client, services["admin"].client:
        yield services


MODULES = {"auth": auth_main, "chat": main, "admin": admin_main}


@pytest.fixture
def auth(services: dict[str, Service], ada: User, redis: Redis) -> Service:
    redis.flushdb()
    return services["auth"]


@pytest.fixture
def chat(services: dict[str, Service], ada: User, redis: Redis, provider: Provider) -> Service:
    redis.flushdb()
    return services["chat"]


def status(response: Response) -> tuple[str, int]:
    """Return which limit was counted and how many requests remain."""
    policy, left, seconds = response.headers["RateLimit"].split(";")
    assert response.headers["RateLimit-Policy"] in {f'"user";q={PER_USER};w=3600', f'"address";q={PER_ADDRESS};w=3600'}
    assert response.headers["RateLimit-Policy"].startswith(policy)
    assert 0 < int(seconds.removeprefix("t=")) <= 3600
    return policy.strip('"'), int(left.removeprefix("r="))


def test_account_over_its_limit_is_refused_until_window_moves(auth: Service, ada: User) -> None:
    client = auth.at("192.0.2.1")
    answers = [client.get(f"{AUTH}/me", headers=ada.headers) for _ in range(PER_USER)]
    assert [answer.status_code for answer in answers] == [200] * PER_USER
    assert [status(answer) for answer in answers] == [("user", left) for left in reversed(range(PER_USER))]
    refused = client.get(f"{AUTH}/me", headers=ada.headers)
    assert_problem(refused, 429, "rate_limited")
    assert status(refused) == ("user", 0)
    assert refused.headers["RateLimit"].endswith(f";t={refused.headers['Retry-After']}")


def test_refused_request_reaches_no_database(
    auth: Service, ada: User, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = auth.at("192.0.2.1")
    for _ in range(PER_USER):
        client.get(f"{AUTH}/me", headers=ada.headers)

    async def fail(*_: object, **__: object) -> None:
        pytest.fail("the caller was looked up")

    monkeypatch.setattr(callers, "find_by_login", fail)
    assert client.get(f"{AUTH}/me", headers=ada.headers).status_code == 429


def test_devices_keys_and_services_share_limit_of_account(
    world: World, services: dict[str, Service], log_in_again: Callable[[User], User], redis: Redis
) -> None:
    device, key = log_in_again(world.owner), world.api_key(world.owner, "chat:read")
    redis.flushdb()
    auth, chat, admin = (services[name].at("192.0.2.1") for name in ("auth", "chat", "admin"))
    answers = [
        auth.get(f"{AUTH}/me", headers=world.owner.headers),
        auth.get(f"{AUTH}/me", headers=device.headers),
        chat.get(f"{CHAT}/sessions", headers=device.headers),
        chat.get(f"{CHAT}/sessions", headers={"Authorization": f"Bearer {key}"}),
        chat.get(f"{CHAT}/sessions", headers={"Authorization": f"Bearer {key}"}),
        admin.get(f"{ADMIN}/overview", headers=world.owner.headers),
    ]
    assert [answer.status_code for answer in answers] == [200] * 5 + [403]
    assert [status(answer) for answer in answers] == [("user", PER_USER - number) for number in range(1, 7)]
    assert status(auth.get(f"{AUTH}/me", headers=world.other.headers)) == ("user", PER_USER - 1)


def test_unauthenticated_requests_are_counted_per_network(auth: Service) -> None:
    client = auth.at("192.0.2.1")
    invalid_token = {"Authorization": "Bearer nonsense"}
    answers = [
        client.get(f"{AUTH}/me"),
        client.get(f"{AUTH}/me", headers=invalid_token),
        client.post(f"{AUTH}/register", json={"email": "x"}),
        client.post(f"{AUTH}/login", content=b"{", headers={"Content-Type": "application/json"}),
        client.post(f"{AUTH}/refresh", content=b"{", headers={"Content-Type": "application/json"}),
        client.get(f"{AUTH}/nowhere"),
        client.put(f"{AUTH}/login"),
        client.post(f"{AUTH}/register", content=b"x" * 20_000),
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 422, 422, 400, 404, 405, 413]
    assert [status(answer)[1] for answer in answers] == [PER_ADDRESS - number for number in range(1, 9)]
    for _ in range(PER_ADDRESS - 8):
        client.get(f"{AUTH}/me")
    assert_problem(client.get(f"{AUTH}/me"), 429, "rate_limited")
    assert auth.at("192.0.2.2").get(f"{AUTH}/me").status_code == 401


def test_ipv6_addresses_are_counted_per_64_bit_network(auth: Service) -> None:
    left = [
        status(auth.at(address).get(f"{AUTH}/me"))[1]
        for address in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1", "192.0.2.9", "::ffff:192.0.2.9")
    ]
    assert [PER_ADDRESS - number for number in left] == [1, 2, 1, 1, 2]


def test_accounts_behind_one_address_have_separate_limits(auth: Service, ada: User, bob: User, redis: Redis) -> None:
    redis.flushdb()
    client = auth.at("192.0.2.1")
    statuses = Counter(client.get(f"{AUTH}/me", headers=ada.headers).status_code for _ in range(5 * PER_USER))
    assert statuses == {200: PER_USER, 429: 4 * PER_USER}
    assert client.get(f"{AUTH}/me", headers=bob.headers).status_code == 200
    assert status(client.get(f"{AUTH}/me")) == ("address", PER_ADDRESS - PER_USER - 2)


def test_ended_login_does_not_use_up_limit_of_account(
    auth: Service, ada: User, log_in_again: Callable[[User], User], redis: Redis
) -> None:
    other_login = log_in_again(ada)
    redis.flushdb()
    client = auth.at("192.0.2.1")
    assert status(client.get(f"{AUTH}/me", headers=other_login.headers)) == ("user", PER_USER - 1)
    assert status(client.post(f"{AUTH}/logout", headers=other_login.headers)) == ("user", PER_USER - 2)
    for _ in range(5):
        assert client.get(f"{AUTH}/me", headers=other_login.headers).status_code == 401
    # The first request after the end was still counted for the account.
    assert status(client.get(f"{AUTH}/me", headers=ada.headers)) == ("user", PER_USER - 4)


def test_health_checks_and_preflights_are_not_counted(auth: Service) -> None:
    client = auth.at("192.0.2.1")
    for path in ("/health", "/livez", "/readyz"):
        assert "RateLimit" not in client.get(path).headers
    origin = {"Origin": "http://localhost:3000"}
    preflight = client.options(f"{AUTH}/login", headers=origin | {"Access-Control-Request-Method": "POST"})
    assert preflight.status_code == 200
    answer = client.get(f"{AUTH}/me", headers=origin)
    assert status(answer) == ("address", PER_ADDRESS - 1)
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"RateLimit", "RateLimit-Policy", "Retry-After"} <= set(exposed)


def test_browser_can_read_refusal(auth: Service) -> None:
    client = auth.at("192.0.2.1")
    origin = {"Origin": "http://localhost:3000"}
    answers = [client.get(f"{AUTH}/me", headers=origin) for _ in range(PER_ADDRESS + 1)]
    assert_problem(answers[-1], 429, "rate_limited")
    assert answers[-1].headers["Access-Control-Allow-Origin"] == origin["Origin"]


def test_rate_limited_requests_write_no_audit_entries(
    services: dict[str, Service], ada: User, sql: Sql, redis: Redis
) -> None:
    redis.flushdb()
    client = services["admin"].at("192.0.2.1")
    statuses = Counter(client.get(f"{ADMIN}/overview", headers=ada.headers).status_code for _ in range(50))
    assert statuses == {403: PER_USER, 429: 50 - PER_USER}
    assert sql.value("SELECT count(*) FROM audit_log WHERE action = 'admin.access'") == PER_USER


def test_event_stream_counts_once(chat: Service, ada: User, provider: Provider) -> None:
    client = chat.at("192.0.2.1")
    streamed = client.post(f"{CHAT}/direct/stream", json={"message": "Hi"}, headers=ada.headers)
    assert streamed.text.count("event: ") > 2
    assert status(streamed) == ("user", PER_USER - 1)
    assert status(client.get(f"{CHAT}/sessions", headers=ada.headers)) == ("user", PER_USER - 2)


def test_refused_question_reaches_no_model(chat: Service, ada: User, provider: Provider) -> None:
    client = chat.at("192.0.2.1")
    statuses = Counter(
        client.post(f"{CHAT}/direct", json={"message": "Hi"}, headers=ada.headers).status_code for _ in range(15)
    )
    assert statuses == {200: PER_USER, 429: 5}
    assert len(provider.calls) == PER_USER


def test_concurrent_requests_to_two_processes_are_served_up_to_limit(
    strict: Settings, chat: Service, ada: User, home: Path
) -> None:
    process = ChatProcess(strict, home)
    try:
        first_process, second_process = chat.at("192.0.2.1"), process.client
        clients = [first_process, second_process] * 20
        with ThreadPoolExecutor(20) as pool:
            served = Counter(
                pool.map(lambda client: client.get(f"{CHAT}/sessions", headers=ada.headers).status_code, clients)
            )
    finally:
        process.stop()
    assert served == {200: PER_USER, 429: 40 - PER_USER}


def test_login_attempts_have_separate_limits(auth: Service, ada: User) -> None:
    client = auth.at("192.0.2.1")
    guesses = [login(client, "ada", f"guess {number}") for number in range(11)]
    assert [guess.status_code for guess in guesses] == [401] * 10 + [429]
    assert_problem(guesses[-1], 429, "too_many_attempts")
    assert status(guesses[-1]) == ("address", PER_ADDRESS - 11)
    elsewhere = auth.at("198.51.100.7")
    assert login(elsewhere, replace(ada, username="bob").username, PASSWORD).status_code == 401


def test_refused_uploads_are_received_before_the_response(services: dict[str, Service]) -> None:
    app = services["chat"].client.app
    assert isinstance(app, FastAPI)
    classes: list[object] = [one.cls for one in app.user_middleware]  # the outermost one first
    assert classes.index(UploadDrainMiddleware) < classes.index(RateLimitMiddleware)
