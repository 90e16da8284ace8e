"""Brute-force protection of logins."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app import auth_main
from app.config import Settings
from app.core.password_hashing import PasswordHasher
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, PASSWORD, User, assert_problem, login


class NetworkClient:
    """Client of the auth service with a choice of network address."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def login(self, name: str, password: str, ip: str, **headers: str) -> Response:
        self._client._transport.client = (ip, 50000)  # type: ignore[attr-defined]
        return self._client.post(f"{AUTH}/login", data={"username": name, "password": password}, headers=headers)


@pytest.fixture(scope="module")
def network_client_service(settings: Settings, cheap_passwords: None) -> Iterator[NetworkClient]:
    with TestClient(auth_main.create(settings)) as client:
        yield NetworkClient(client)


@pytest.fixture
def network_client(network_client_service: NetworkClient, sql: Sql) -> NetworkClient:
    return network_client_service


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Counter[bool]:
    """Number of passwords that were compared with a stored hash."""
    counted: Counter[bool] = Counter()
    verify = PasswordHasher.verify

    async def count_and_verify(self: PasswordHasher, password: str, password_hash: str | None) -> bool:
        if password_hash is not None:
            counted[True] += 1
        return await verify(self, password, password_hash)

    monkeypatch.setattr(PasswordHasher, "verify", count_and_verify)
    return counted


def test_ten_of_1000_sequential_attempts_are_evaluated(
    auth_client: TestClient, ada: User, evaluated: Counter[bool]
) -> None:
    statuses = Counter(login(auth_client, "ada", f"guess {number}").status_code for number in range(1000))
    assert statuses == {401: 10, 429: 990}
    assert evaluated[True] == 10


def test_ten_of_1000_concurrent_attempts_are_evaluated(
    auth_client: TestClient, ada: User, evaluated: Counter[bool]
) -> None:
    with ThreadPoolExecutor(50) as pool:
        responses = pool.map(lambda number: login(auth_client, "ada", f"guess {number}"), range(1000))
        statuses = Counter(response.status_code for response in responses)
    assert evaluated[True] == 10
    assert statuses == {401: 10, 429: 990}


def test_ten_of_1000_attempts_with_different_names_of_account_are_evaluated(
    auth_client: TestClient, ada: User, evaluated: Counter[bool]
) -> None:
    names = ["ada", "ADA", "ada@example.com", "Ada@Example.com", "aDa"]
    statuses = Counter(login(auth_client, names[n % 5], f"guess {n}").status_code for n in range(1000))
    assert evaluated[True] == 10
    assert set(statuses) == {401, 429}


def test_ten_of_1000_attempts_from_different_addresses_are_evaluated(
    network_client: NetworkClient, ada: User, evaluated: Counter[bool]
) -> None:
    for number in range(1000):
        network_client.login("ada", f"guess {number}", f"198.51.{number // 250}.{number % 250 + 1}")
    assert evaluated[True] == 10


def test_network_over_its_limit_does_not_use_up_attempts_of_further_names(
    network_client: NetworkClient, sql: Sql, ada: User, settings: Settings
) -> None:
    for number in range(settings.LOGIN_ATTEMPTS_PER_ADDRESS):
        network_client.login(f"user{number}", "guess", "198.51.100.7")
    counters = sql.value("SELECT count(*) FROM login_throttles")
    for number in range(30):
        assert network_client.login("ada", "guess", "198.51.100.7").status_code == 429
        assert network_client.login(f"other{number}", "guess", "198.51.100.7").status_code == 429
    assert sql.value("SELECT count(*) FROM login_throttles") == counters
    assert network_client.login("ada", PASSWORD, "198.51.100.8").status_code == 200


def test_forwarded_headers_of_client_are_ignored(
    network_client: NetworkClient, ada: User, evaluated: Counter[bool]
) -> None:
    statuses = Counter(
        network_client.login(
            f"user{number}",
            "guess",
            "198.51.100.7",
            **{"X-Forwarded-For": f"10.0.0.{number}", "X-Real-IP": f"10.0.1.{number}", "Forwarded": "for=10.1.1.1"},
        ).status_code
        for number in range(120)
    )
    assert statuses == {401: 100, 429: 20}


def test_ipv6_addresses_are_counted_per_64_bit_network(network_client: NetworkClient, sql: Sql) -> None:
    statuses = Counter(network_client.login(f"u{n}", "guess", f"2001:db8::{n:x}").status_code for n in range(1, 121))
    assert statuses == {401: 100, 429: 20}
    assert network_client.login("u1", "guess", "2001:db8:0:1::1").status_code == 401


def test_correct_and_wrong_passwords_get_same_response_while_locked(auth_client: TestClient, ada: User) -> None:
    for _ in range(10):
        login(auth_client, "ada", "guess")
    problems = []
    for password in ("guess", PASSWORD):
        response = login(auth_client, "ada", password)
        problem = assert_problem(response, 429, "too_many_attempts")
        assert 0 < int(response.headers["Retry-After"]) <= 900
        problems.append({**problem, "request_id": None})
    assert problems[0] == problems[1]


def test_account_locked_by_one_name_gets_invalid_credentials_by_other(auth_client: TestClient, ada: User) -> None:
    for _ in range(10):
        login(auth_client, "ada", "guess")
    for password in ("guess", PASSWORD):
        assert_problem(login(auth_client, "ada@example.com", password), 401, "invalid_credentials")


def test_names_without_account_are_locked_too(auth_client: TestClient, sql: Sql) -> None:
    statuses = Counter(login(auth_client, "nobody", "guess").status_code for _ in range(20))
    assert statuses == {401: 10, 429: 10}


def test_lock_ends_with_its_window(auth_client: TestClient, sql: Sql, ada: User) -> None:
    for _ in range(11):
        login(auth_client, "ada", "guess")
    sql.do("UPDATE login_throttles SET window_ends_at = now()")
    assert login(auth_client, "ada").status_code == 200


def test_correct_passwords_are_not_counted(auth_client: TestClient, sql: Sql, ada: User) -> None:
    assert [login(auth_client, "ada").status_code for _ in range(25)] == [200] * 25
    assert sql.value("SELECT max(attempts) FROM login_throttles") == 0


def test_login_of_owner_does_not_reset_attempts_of_attacker(
    auth_client: TestClient, ada: User, evaluated: Counter[bool]
) -> None:
    failures = 0
    for number in range(40):
        failures += login(auth_client, "ada", "guess").status_code == 401
        if number < 5:
            assert login(auth_client, "ada").status_code == 200
    assert failures == 10


def test_restart_does_not_reset_attempts(auth_client: TestClient, settings: Settings, ada: User) -> None:
    for _ in range(10):
        login(auth_client, "ada", "guess")
    with TestClient(auth_main.create(settings)) as restarted:
        assert_problem(login(restarted, "ada", "guess"), 429, "too_many_attempts")


def test_attacker_on_other_network_does_not_lock_owner_out(
    network_client: NetworkClient, ada: User, evaluated: Counter[bool]
) -> None:
    home, elsewhere = "192.0.2.1", "198.51.100.1"
    assert network_client.login("ada", PASSWORD, home).status_code == 200
    for _ in range(50):
        network_client.login("ada", "guess", elsewhere)
    assert network_client.login("ada", PASSWORD, elsewhere).status_code == 429
    assert network_client.login("ada", PASSWORD, home).status_code == 200
    # The known network has the same limit.
    evaluated.clear()
    assert Counter(network_client.login("ada", "guess", home).status_code for _ in range(30)) == {401: 10, 429: 20}
    assert evaluated[True] == 10


def test_lock_and_evaluated_attempts_are_audited_and_refused_ones_are_not(
    auth_client: TestClient, sql: Sql, ada: User
) -> None:
    for _ in range(30):
        login(auth_client, "ada", "guess")
    rows = sql.rows("SELECT action, target_id::text, outcome, count(*) FROM audit_log GROUP BY 1, 2, 3 ORDER BY 1")
    assert [tuple(row.values()) for row in rows if row["outcome"] == "refused"] == [
        ("login.failed", ada.id, "refused", 10),
        ("login.locked", ada.id, "refused", 1),
    ]


def test_entered_names_are_not_stored(auth_client: TestClient, sql: Sql) -> None:
    login(auth_client, "my-secret-password", "guess")
    for table in ("login_throttles", "audit_log"):
        assert "my-secret" not in str(sql.rows(f"SELECT * FROM {table}"))  # noqa: S608 - names from above


def answers_of(network_client: NetworkClient, name: str, networks: list[str]) -> list[tuple[int, str, dict[str, str]]]:
    """Try a wrong password from each network in turn, and return status, body and headers without what is unique."""
    answers = []
    for network in networks:
        response = network_client.login(name, "guess", network)
        body = {**response.json(), "request_id": None}
        headers = {key: value for key, value in response.headers.items() if key not in {"x-request-id", "ratelimit"}}
        answers.append((response.status_code, str(body), headers))
    return answers


@pytest.mark.parametrize(
    "networks",
    [
        pytest.param(["198.51.100.1"] * 12 + ["198.51.100.2"] * 12, id="one network after another"),
        pytest.param(["192.0.2.1"] * 12 + ["198.51.100.2"] * 12, id="the owner's network, then another"),
        pytest.param(["198.51.100.1"] * 12 + ["192.0.2.1"] * 12, id="another network, then the owner's"),
        pytest.param([f"198.51.100.{number % 30 + 1}" for number in range(60)], id="many networks"),
    ],
)
@pytest.mark.parametrize("name", ["ada", "ada@example.com"])
def test_names_with_and_without_an_account_get_the_same_answers(
    network_client: NetworkClient, ada: User, networks: list[str], name: str
) -> None:
    assert network_client.login("ada", PASSWORD, "192.0.2.1").status_code == 200
    existing = answers_of(network_client, name, networks)
    missing = answers_of(network_client, name.replace("ada", "eve"), networks)
    assert [answer[:2] for answer in existing] == [answer[:2] for answer in missing]
    for (*_, headers), (*_, other_headers) in zip(existing, missing, strict=True):
        assert headers.keys() == other_headers.keys()
        assert abs(int(headers.pop("retry-after", 0)) - int(other_headers.pop("retry-after", 0))) < 60
        assert headers == other_headers


def test_attempts_from_other_networks_do_not_change_the_answer(network_client: NetworkClient, ada: User) -> None:
    for number in range(40):
        network_client.login("ada", "guess", f"198.51.100.{number // 10 + 1}")
    assert_problem(network_client.login("ada", "guess", "203.0.113.1"), 401, "invalid_credentials")
