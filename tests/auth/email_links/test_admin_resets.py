"""Password reset links that admins send."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.auth.email.outbox import MAX_EMAILS_PER_RECIPIENT
from tests.auth.email_links.link_requests import NEW_PASSWORD, entries, reset_password
from tests.fixtures.database import Sql
from tests.fixtures.mail import Mailbox
from tests.fixtures.services import AUTH, User, assert_problem, login


@pytest.fixture
def root(register_user: Callable[[str], User], sql: Sql) -> User:
    """An admin whose verification email has been removed."""
    user = register_user("root")
    sql.do("UPDATE users SET role = 'admin' WHERE username = 'root'")
    return user


def send_reset(client: TestClient, admin: User, user: User) -> Response:
    return client.post(f"{AUTH}/admin/users/{user.id}/password-reset", headers=admin.headers)


def test_owner_gets_link_and_keeps_the_password_until_then(
    auth_client: TestClient, mailbox: Mailbox, root: User, ada: User, sql: Sql
) -> None:
    response = send_reset(auth_client, root, ada)
    assert response.status_code == 202
    assert login(auth_client, "ada").status_code == 200
    token = mailbox.last_token()
    assert token not in response.text
    assert mailbox.mails()[-1]["To"] == ada.email
    assert reset_password(auth_client, token).status_code == 200
    assert login(auth_client, "ada", NEW_PASSWORD).status_code == 200
    (entry,) = entries(sql, "password.reset_requested")
    assert (str(entry["actor_id"]), str(entry["target_id"]), entry["outcome"]) == (root.id, ada.id, "done")


def test_disabled_account_gets_no_link(
    auth_client: TestClient, mailbox: Mailbox, root: User, ada: User, sql: Sql
) -> None:
    sql.do("UPDATE users SET is_active = false WHERE username = 'ada'")
    assert_problem(send_reset(auth_client, root, ada), 409, "account_disabled")
    assert mailbox.mails() == []


def test_limit_of_emails_is_told_to_admins(
    auth_client: TestClient, mailbox: Mailbox, root: User, ada: User, sql: Sql
) -> None:
    responses = [send_reset(auth_client, root, ada) for _ in range(MAX_EMAILS_PER_RECIPIENT + 1)]
    assert [response.status_code for response in responses] == [202] * MAX_EMAILS_PER_RECIPIENT + [429]
    assert_problem(responses[-1], 429, "too_many_attempts")
    assert len(entries(sql, "password.reset_requested")) == MAX_EMAILS_PER_RECIPIENT
