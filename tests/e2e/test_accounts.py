"""Accounts, through the gateway."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.stack import Stack
from tests.e2e.conftest import PASSWORD, SETTINGS, UserClient, gateway_client
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, CHAT

pytestmark = pytest.mark.e2e


@pytest.fixture
def sql(stack: Stack) -> Iterator[Sql]:
    """Connection to the stack's database. Login attempts are deleted afterwards, because all tests share an address."""
    connection = Sql(stack.owner_database_url)
    yield connection
    connection.do("DELETE FROM login_throttles")
    connection.close()


def test_1000_login_attempts_with_forged_addresses_are_limited_to_10(
    stack: Stack, make_user_client: Callable[[str], UserClient], sql: Sql
) -> None:
    make_user_client("guessed")
    # The account has no login from this address.
    sql.do("UPDATE auth_sessions SET ip = '192.0.2.1' FROM users WHERE users.id = user_id AND username = 'guessed'")

    def guess(number: int) -> int:
        address = f"198.51.{number // 250}.{number % 250 + 1}"
        headers = {"X-Forwarded-For": address, "X-Real-IP": address, "Forwarded": f"for={address}"}
        form = {"username": "guessed", "password": f"guess {number}"}
        return client.post(f"{AUTH}/login", data=form, headers=headers).status_code

    with gateway_client(stack) as client, ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(guess, range(1000)))
    assert statuses == {401: 10, 429: 990}
    failures = """
        SELECT count(*), count(DISTINCT audit_log.ip) AS addresses
        FROM audit_log JOIN users ON users.uuid = target_id WHERE action = 'login.failed' AND username = 'guessed'
    """
    assert sql.rows(failures) == [{"count": 10, "addresses": 1}]


def test_refresh_and_logout_take_effect_on_all_services(make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("renewed")
    routes = {f"{AUTH}/me": 200, f"{CHAT}/sessions": 200, f"{ADMIN}/overview": 403}
    renewed = user.client.post(f"{AUTH}/refresh", json={"refresh_token": user.tokens["refresh_token"]})
    assert renewed.status_code == 200
    user.client.headers["Authorization"] = f"Bearer {renewed.json()['access_token']}"
    assert {route: user.client.get(route).status_code for route in routes} == routes
    (device,) = user.client.get(f"{AUTH}/sessions").json()["sessions"]
    assert device["ip"] == "127.0.0.1"
    assert user.client.post(f"{AUTH}/logout").status_code == 200
    assert {user.client.get(route).status_code for route in routes} == {401}
    again = user.client.post(f"{AUTH}/refresh", json={"refresh_token": renewed.json()["refresh_token"]})
    assert again.status_code == 401


def test_password_change_revokes_other_logins(make_user_client: Callable[[str], UserClient], stack: Stack) -> None:
    user = make_user_client("changed")
    with gateway_client(stack) as phone:
        login = phone.post(f"{AUTH}/login", data={"username": "changed", "password": PASSWORD}).json()
        phone.headers["Authorization"] = f"Bearer {login['access_token']}"
        assert phone.get(f"{CHAT}/sessions").status_code == 200
        change = {"current_password": PASSWORD, "new_password": "another horse, another staple"}
        assert user.client.put(f"{AUTH}/password", json=change).status_code == 200
        assert phone.get(f"{CHAT}/sessions").status_code == 401
    assert user.client.get(f"{CHAT}/sessions").status_code == 200


def test_forged_address_does_not_reset_the_rate_limit(stack: Stack) -> None:
    def remaining(number: int) -> int:
        address = f"198.51.100.{number}"
        headers = {"X-Forwarded-For": address, "X-Real-IP": address, "Forwarded": f"for={address}"}
        rate_limit = client.get(f"{AUTH}/me", headers=headers).headers["RateLimit"]
        return int(rate_limit.removeprefix('"address";r=').partition(";")[0])

    with gateway_client(stack) as client:
        counts = [remaining(number) for number in range(10)]
    assert counts[-1] <= int(SETTINGS["RATE_LIMIT_REQUESTS_PER_ADDRESS"]) - 10
