"""Requests for links in emails, and requests with the tokens of the links."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response

from tests.fixtures.database import Sql
from tests.fixtures.mail import Mailbox
from tests.fixtures.services import AUTH

NEW_PASSWORD = "another battery, another staple"
ADDRESS = "ada@example.com"


def request_reset_email(client: TestClient, address: str = ADDRESS, **arguments: Any) -> Response:  # noqa: ANN401 - passed on
    return client.post(f"{AUTH}/password/forgot", json={"email": address}, **arguments)


def request_verification_email(client: TestClient, address: str = ADDRESS) -> Response:
    return client.post(f"{AUTH}/email/verify/resend", json={"email": address})


def reset_password(client: TestClient, token: object, password: str = NEW_PASSWORD) -> Response:
    return client.post(f"{AUTH}/password/reset", json={"token": token, "new_password": password})


def verify_email(client: TestClient, token: object) -> Response:
    return client.post(f"{AUTH}/email/verify", json={"token": token})


RequestEmail = Callable[..., Response]
UseToken = Callable[..., Response]


def reset_token(client: TestClient, mailbox: Mailbox) -> str:
    assert request_reset_email(client).status_code == 202
    return mailbox.last_token()


def entries(sql: Sql, action: str) -> list[dict[str, Any]]:
    return sql.rows("SELECT * FROM audit_log WHERE action = %s", [action])
