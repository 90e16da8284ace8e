"""Invitations by admins, and registration with them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app import auth_main
from app.auth.email.outbox import MAX_EMAILS_PER_RECIPIENT
from app.config import Settings
from app.core.password_hashing import PasswordHasher
from tests.auth.email_links.link_requests import entries
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.mail import PUBLIC_URL, Mailbox, read_mail
from tests.fixtures.services import AUTH, PASSWORD, User, assert_problem, login, register
from tests.fixtures.world import INVITATION_TOKENS

GRACE = "grace+1@example.com"


@pytest.fixture
def root(register_user: Callable[[str], User], sql: Sql) -> User:
    """An admin whose verification email has been removed."""
    user = register_user("root")
    sql.do("UPDATE users SET role = 'admin' WHERE username = 'root'")
    return user


def invite(client: TestClient, admin: User, email: str = GRACE, **fields: object) -> Response:
    return client.post(f"{AUTH}/admin/users", json={"email": email, **fields}, headers=admin.headers)


def listed(client: TestClient, admin: User) -> list[dict[str, Any]]:
    response = client.get(f"{AUTH}/admin/invitations", headers=admin.headers)
    assert response.status_code == 200, response.text
    return list(response.json()["invitations"])


def link_of(mailbox: Mailbox) -> dict[str, list[str]]:
    """Return the parameters in the fragment of the link in the last email."""
    (link,) = [line for line in mailbox.mails()[-1].get_content().splitlines() if line.startswith("https:")]
    page, _, fragment = link.partition("#")
    assert page == f"{PUBLIC_URL}/register"
    return parse_qs(fragment, strict_parsing=True)


def token_of(mailbox: Mailbox) -> str:
    (token,) = link_of(mailbox)["token"]
    return token


def accept(client: TestClient, token: str, username: str = "grace", **fields: object) -> Response:
    return register(client, username, **{"email": GRACE, "invitation": token, **fields})


def test_invited_person_registers_with_link(auth_client: TestClient, mailbox: Mailbox, root: User, sql: Sql) -> None:
    response = invite(auth_client, root, role="admin", full_name="Grace Hopper")
    assert response.status_code == 201, response.text
    invitation = response.json()
    assert {name: invitation[name] for name in ("email", "role", "full_name")} == {
        "email": GRACE,
        "role": "admin",
        "full_name": "Grace Hopper",
    }
    assert listed(auth_client, root) == [invitation]
    assert link_of(mailbox)["email"] == [GRACE]
    mail = mailbox.mails()[-1]
    assert (mail["To"], mail["Subject"]) == (GRACE, "Chat Bot System: You are invited")
    assert "valid for 7 days." in mail.get_content()
    assert "Hopper" not in mail.get_content()

    account = accept(auth_client, token_of(mailbox), email=GRACE.upper())
    assert account.status_code == 201, account.text
    shown = {name: account.json()[name] for name in ("username", "role", "full_name", "is_verified")}
    assert shown == {"username": "grace", "role": "admin", "full_name": "Grace Hopper", "is_verified": True}
    assert login(auth_client, "grace").status_code == 200
    assert listed(auth_client, root) == []
    assert sql.value("SELECT count(*) FROM invitations") == 0
    assert [mail["To"] for mail in mailbox.mails()] == [GRACE]  # no verification email

    (created,) = entries(sql, "invitation.created")
    assert (str(created["actor_id"]), str(created["target_id"])) == (root.id, invitation["id"])
    assert created["details"] == {"role": "admin"}
    registered = entries(sql, "user.registered")[-1]
    assert str(registered["target_id"]) == account.json()["id"]
    assert registered["details"] == {"invitation": invitation["id"], "role": "admin"}
    assert "grace" not in sql.everything()["audit_log"]


def test_own_name_replaces_the_one_of_the_invitation(auth_client: TestClient, mailbox: Mailbox, root: User) -> None:
    invite(auth_client, root, full_name="G. Hopper")
    assert accept(auth_client, token_of(mailbox), full_name="Grace Hopper").json()["full_name"] == "Grace Hopper"


def test_unusable_invitations_get_same_response_without_hashing(
    auth_client: TestClient, mailbox: Mailbox, root: User, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    invite(auth_client, root)
    token = token_of(mailbox)

    async def fail(*_: object) -> str:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(PasswordHasher, "hash", fail)
        responses = [
            accept(auth_client, "x"),
            accept(auth_client, INVITATION_TOKENS.issue(uuid4())),
            accept(auth_client, token, email="eve@example.com"),
        ]
        sql.do("UPDATE invitations SET expires_at = now()")
        responses.append(accept(auth_client, token))
        sql.do("UPDATE invitations SET expires_at = now() + interval '1 h'")
        problems = [assert_problem(response, 400, "invalid_token") | {"request_id": ""} for response in responses]
    assert problems == [problems[0]] * 4
    assert accept(auth_client, token).status_code == 201
    assert_problem(accept(auth_client, token, username="other"), 400, "invalid_token")


def test_new_invitation_replaces_the_old_one(auth_client: TestClient, mailbox: Mailbox, root: User) -> None:
    first = invite(auth_client, root, role="admin").json()
    old_token = token_of(mailbox)
    second = invite(auth_client, root, GRACE.upper()).json()
    assert second["id"] != first["id"]
    assert second["role"] == "user"
    assert listed(auth_client, root) == [second]
    assert_problem(accept(auth_client, old_token), 400, "invalid_token")
    assert accept(auth_client, token_of(mailbox)).json()["role"] == "user"


def test_revoked_invitation_cannot_be_used(auth_client: TestClient, mailbox: Mailbox, root: User, sql: Sql) -> None:
    invitation = invite(auth_client, root).json()
    token = token_of(mailbox)
    path = f"{AUTH}/admin/invitations/{invitation['id']}"
    assert auth_client.delete(path, headers=root.headers).status_code == 200
    assert_problem(auth_client.delete(path, headers=root.headers), 404, "not_found")
    assert_problem(accept(auth_client, token), 400, "invalid_token")
    (entry,) = entries(sql, "invitation.deleted")
    assert (str(entry["actor_id"]), str(entry["target_id"])) == (root.id, invitation["id"])


def test_taken_username_leaves_the_invitation_valid(auth_client: TestClient, mailbox: Mailbox, root: User) -> None:
    invite(auth_client, root)
    token = token_of(mailbox)
    problem = assert_problem(accept(auth_client, token, username="ROOT"), 400, "already_registered")
    assert problem["errors"][0]["field"] == "body.username"
    assert accept(auth_client, token).status_code == 201


def test_address_with_account_is_not_invited(
    auth_client: TestClient, mailbox: Mailbox, root: User, ada: User, sql: Sql
) -> None:
    assert_problem(invite(auth_client, root, "ADA@example.com"), 409, "already_registered")
    assert mailbox.mails() == []
    assert sql.value("SELECT count(*) FROM invitations") == 0


def test_invitation_is_useless_once_the_address_has_an_account(
    auth_client: TestClient, mailbox: Mailbox, root: User
) -> None:
    invite(auth_client, root)
    token = token_of(mailbox)
    assert register(auth_client, "grace", email=GRACE).status_code == 201
    problem = assert_problem(accept(auth_client, token, username="hopper"), 400, "already_registered")
    assert problem["errors"][0]["field"] == "body.email"
    assert listed(auth_client, root) == []


def test_invitations_to_an_address_are_limited_and_told(
    auth_client: TestClient, mailbox: Mailbox, root: User, sql: Sql
) -> None:
    responses = [invite(auth_client, root) for _ in range(MAX_EMAILS_PER_RECIPIENT + 1)]
    assert [response.status_code for response in responses] == [201] * MAX_EMAILS_PER_RECIPIENT + [429]
    assert_problem(responses[-1], 429, "too_many_attempts")
    assert 3500 < int(responses[-1].headers["Retry-After"]) <= 3600
    # The refused request has not replaced the invitation.
    assert [invitation["id"] for invitation in listed(auth_client, root)] == [responses[-2].json()["id"]]
    assert len(entries(sql, "invitation.created")) == MAX_EMAILS_PER_RECIPIENT


def test_invitations_are_refused_when_email_is_disabled(settings: Settings, root: User, ada: User, sql: Sql) -> None:
    with TestClient(auth_main.create(settings)) as client:
        assert_problem(invite(client, root), 503, "mail_disabled")
        path = f"{AUTH}/admin/users/{ada.id}/password-reset"
        assert_problem(client.post(path, headers=root.headers), 503, "mail_disabled")
    assert sql.value("SELECT count(*) FROM invitations") == 0


@pytest.mark.parametrize(("mode", "code"), [("invitation", "invitation_required"), ("closed", "registration_closed")])
def test_registration_that_is_not_open_needs_an_invitation(
    settings: Settings, auth_client: TestClient, mailbox: Mailbox, root: User, sql: Sql, mode: str, code: str
) -> None:
    invite(auth_client, root)
    token = token_of(mailbox)
    changed = settings.model_copy(update={"REGISTRATION": mode})
    with TestClient(auth_main.create(changed)) as client:
        for fields in ({}, {"invitation": None}, {"email": GRACE}):
            assert_problem(register(client, "eve", **fields), 403, code)
        # The same for a registered address: nothing is revealed.
        assert_problem(register(client, "root"), 403, code)
        assert sql.value("SELECT count(*) FROM users") == 1
        assert accept(client, token).status_code == 201


def test_invited_address_needs_no_verification(
    settings: Settings, auth_client: TestClient, mailbox: Mailbox, root: User
) -> None:
    invite(auth_client, root)
    changes = {"EMAIL_VERIFICATION_REQUIRED": True, "MAIL_URL": mailbox.directory.as_uri()}
    token = token_of(mailbox)
    with TestClient(auth_main.create(settings.model_copy(update=changes))) as client:
        assert accept(client, token).status_code == 201
        assert login(client, "grace").status_code == 200


def test_of_concurrent_invitations_one_stays(
    auth_client: TestClient, mailbox: Mailbox, root: User, ada: User, sql: Sql
) -> None:
    sql.do("UPDATE users SET role = 'admin'")
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda admin: invite(auth_client, admin), [root, ada] * 4))
    assert {response.status_code for response in responses} <= {201, 429}
    (stored,) = listed(auth_client, root)
    assert stored["id"] in {response.json().get("id") for response in responses}


def test_of_concurrent_registrations_with_an_invitation_one_succeeds(
    auth_client: TestClient, mailbox: Mailbox, root: User, sql: Sql
) -> None:
    invite(auth_client, root)
    token = token_of(mailbox)
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda number: accept(auth_client, token, username=f"grace{number}"), range(8)))
    assert sorted(response.status_code for response in responses) == [201] + [400] * 7
    assert {response.json().get("code") for response in responses} <= {None, "invalid_token", "already_registered"}
    assert sql.value("SELECT count(*) FROM users") == 2


def test_registration_races_an_invitation(auth_client: TestClient, mailbox: Mailbox, root: User, sql: Sql) -> None:
    invite(auth_client, root)
    token = token_of(mailbox)

    def attempt(number: int) -> Response:
        if number % 3 == 0:
            return accept(auth_client, token, username=f"invited{number}")
        if number % 3 == 1:
            return register(auth_client, f"open{number}", email=GRACE)
        return invite(auth_client, root)

    with ThreadPoolExecutor(9) as pool:
        responses = list(pool.map(attempt, range(9)))
    statuses = [response.status_code for response in responses]
    assert set(statuses) <= {201, 400, 409, 429}
    assert sql.value("SELECT count(*) FROM users WHERE lower(email) = lower(%s)", [GRACE]) == 1
    assert [status for number, status in enumerate(statuses) if number % 3 < 2].count(201) == 1


def test_email_is_not_sent_for_a_revoked_invitation(auth_client: TestClient, mailbox: Mailbox, sql: Sql) -> None:
    sql.do("INSERT INTO outgoing_mails (kind, recipient) VALUES ('invitation', %s)", [GRACE])
    mailbox.wait_until_sent()
    assert [read_mail(file)["To"] for file in mailbox.directory.glob("*.eml")] == []


def test_statements_of_an_invitation(auth_client: TestClient, mailbox: Mailbox, root: User) -> None:
    with counted_statements() as statements:
        assert invite(auth_client, root).status_code == 201
        mailbox.wait_until_sent()
    # Authentication, lock on the admins, account of the address, invitation, email with its count, audit entry; and
    # those of the delivery, whose loop runs in the same process.
    tables = ("auth_sessions", "FOR UPDATE", "lower(users.email)", "INSERT INTO invitations", "INSERT INTO login_")
    for part in (*tables, "INSERT INTO outgoing_mails", "INSERT INTO audit_log"):
        assert len([one for one in statements if part in one and "outgoing_mails.id" not in one]) <= 2, part
    assert len([one for one in statements if "INSERT INTO" in one and "outgoing_mails.id" not in one]) == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "grace"},
        {"email": GRACE, "role": "owner"},
        {"email": GRACE, "is_verified": True},
        {"email": GRACE, "full_name": ""},
        {"email": GRACE, "password": PASSWORD},
    ],
)
def test_malformed_invitation_is_refused(auth_client: TestClient, root: User, body: dict[str, object]) -> None:
    response = auth_client.post(f"{AUTH}/admin/users", json=body, headers=root.headers)
    assert_problem(response, 422, "validation_error")
