"""Property test: after any sequence of refreshes, lost responses and outages, the service agrees with a model."""

from typing import Any, Literal
from unittest import mock

from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.core.exceptions import DatabaseUnavailableError
from app.core.security import RefreshTokens
from app.database.repositories.accounts import auth_sessions
from tests.fixtures.database import Sql, empty
from tests.fixtures.services import AUTH, SECRET_KEY, login, register

Transport = Literal["body", "cookie"]
Fault = Literal["none", "before", "after"]
"""Failure of PostgreSQL in the request: before it stores the exchange, or after it."""

STEP = st.tuples(
    st.integers(0, 3),  # age of the token: 0 is the last one that was issued
    st.sampled_from(["body", "cookie"]),
    st.sampled_from(["none", "none", "before", "after"]),
    st.sampled_from([0, 1, 100]),  # hours since the last exchange
)


class Family:
    """Model of the refresh tokens of a login. Every token is derived from its predecessor."""

    def __init__(self, first: str) -> None:
        self.chain = [first]
        self.is_open = True

    def refresh(self, index: int, fault: Fault) -> str | None:
        """Return the token that the service sends, or would have sent. None: 401. The last token is the current one."""
        current = len(self.chain) - 1
        if not self.is_open or (fault == "before"):
            return None
        if index == current:
            self.chain.append(RefreshTokens.from_secret(SECRET_KEY).derive_successor(self.chain[-1]))
        elif index < current - 1:
            self.is_open = False
            return None
        return self.chain[-1]


def send(client: TestClient, token: str, transport: Transport, fault: Fault) -> Response:
    rotate = auth_sessions.rotate

    async def faulty(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - passed on
        result = None if fault == "before" else await rotate(*arguments, **named)
        if fault != "none":
            raise DatabaseUnavailableError
        return result

    client.cookies.clear()
    with mock.patch.object(auth_sessions, "rotate", faulty):
        if transport == "body":
            return client.post(f"{AUTH}/refresh", json={"refresh_token": token})
        headers = {"X-Refresh-Transport": "cookie", "Cookie": f"refresh_token={token}"}
        return client.post(f"{AUTH}/refresh", headers=headers)


def sent_token(response: Response, transport: Transport) -> str | None:
    source = response.json() if transport == "body" else response.cookies
    token: str | None = source.get("refresh_token")
    return token


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=3, max_size=12))
@example([(0, "body", "after", 0), (1, "cookie", "none", 100), (0, "body", "none", 0), (1, "body", "none", 0)])
@example([(0, "body", "none", 0), (0, "body", "before", 0), (1, "body", "none", 100), (0, "cookie", "none", 0)])
@example([(0, "body", "none", 0), (0, "body", "none", 0), (2, "body", "none", 0), (0, "body", "none", 0)])
def test_service_agrees_with_model(
    auth_client: TestClient, sql: Sql, steps: list[tuple[int, Transport, Fault, int]]
) -> None:
    empty(sql)
    register(auth_client, "ada")
    family = Family(login(auth_client, "ada").json()["refresh_token"])
    for age, transport, fault, hours in steps:
        index = max(0, len(family.chain) - 1 - age)
        # Of an older token the service finds out only after `rotate` was refused, which an outage prevents.
        is_older = index < len(family.chain) - 2
        sql.do("UPDATE auth_sessions SET rotated_at = rotated_at - make_interval(hours => %s)", [hours])
        expected = None if fault != "none" and is_older else family.refresh(index, fault)
        response = send(auth_client, family.chain[index], transport, fault)
        if fault != "none":
            assert response.status_code == 503
        elif expected is None:
            assert response.status_code == 401
        else:
            assert (response.status_code, sent_token(response, transport)) == (200, expected)
        is_revoked = sql.value("SELECT revoked_at IS NOT NULL FROM auth_sessions")
        assert is_revoked is not family.is_open
    auth_client.cookies.clear()
