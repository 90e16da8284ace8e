"""Command line for operators."""

import os
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

from app import cli
from local.paths import PROJECT
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, PASSWORD, login, register


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str, sql: Sql, cheap_passwords: None) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    monkeypatch.delenv("SECRET_KEY")  # the commands need the database settings only


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["app.cli", *arguments])
    return cli.main()


def create_admin(
    monkeypatch: pytest.MonkeyPatch, email: str = "root@example.com", username: str = "root", *options: str
) -> int:
    return run(monkeypatch, "create-admin", *options, "--email", email, "--username", username)


def create_first_admin(monkeypatch: pytest.MonkeyPatch, email: str = "root@example.com") -> int:
    return create_admin(monkeypatch, email, "root", "--first")


def test_created_admin_can_log_in(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    auth_client: TestClient,
    admin_client: TestClient,
) -> None:
    assert create_admin(monkeypatch) == 0
    captured = capsys.readouterr()
    assert captured.out == "Created the admin root@example.com.\n"
    assert PASSWORD not in captured.out + captured.err
    token = login(auth_client, "root").json()["access_token"]
    response = admin_client.get(f"{ADMIN}/overview", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200


def test_created_admin_is_verified_and_audited(monkeypatch: pytest.MonkeyPatch, sql: Sql) -> None:
    create_admin(monkeypatch)
    (admin,) = sql.rows("SELECT uuid, is_verified FROM users")
    assert admin["is_verified"]
    (entry,) = sql.rows("SELECT actor_id, target_id, details FROM audit_log WHERE action = 'user.registered'")
    assert entry == {
        "actor_id": None,
        "target_id": admin["uuid"],
        "details": {"role": "admin", "by": "command line"},
    }


def test_existing_admin_is_unchanged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sql: Sql
) -> None:
    create_admin(monkeypatch)
    before = sql.rows("SELECT * FROM users")
    capsys.readouterr()
    monkeypatch.setenv("ADMIN_PASSWORD", "another long password")
    assert create_admin(monkeypatch) == 0
    assert "is already an admin" in capsys.readouterr().out
    assert sql.rows("SELECT * FROM users") == before


@pytest.mark.parametrize(
    ("email", "username"), [("ada@example.com", "root"), ("root@example.com", "ada")], ids=["address", "name"]
)
def test_existing_account_is_not_promoted(
    monkeypatch: pytest.MonkeyPatch, auth_client: TestClient, sql: Sql, email: str, username: str
) -> None:
    register(auth_client, "ada")
    assert create_admin(monkeypatch, email, username) == 1
    assert sql.value("SELECT role FROM users") == "user"


def test_existing_account_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], auth_client: TestClient
) -> None:
    register(auth_client, "ada")
    create_admin(monkeypatch, "ada@example.com")
    assert capsys.readouterr().err == "An account with this email already exists; nothing was changed.\n"


def test_first_admin_is_created_at_the_first_start(monkeypatch: pytest.MonkeyPatch, sql: Sql) -> None:
    assert create_first_admin(monkeypatch) == 0
    assert sql.rows("SELECT username, role FROM users") == [{"username": "root", "role": "admin"}]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET role = 'user' WHERE username = 'root'",
        "UPDATE users SET is_active = false WHERE username = 'root'",
        "UPDATE users SET username = 'ruth', username_canonical = 'ruth' WHERE username = 'root'",
        "UPDATE users SET email = 'r@example.com', email_canonical = 'r@example.com' WHERE username = 'root'",
        "DELETE FROM users WHERE username = 'root'",
    ],
    ids=["demoted", "disabled", "renamed", "other address", "erased"],
)
@pytest.mark.parametrize("has_entries", [True, False], ids=["with entries", "with archived entries"])
def test_first_admin_is_never_created_again(
    monkeypatch: pytest.MonkeyPatch, sql: Sql, change: str, *, has_entries: bool
) -> None:
    create_first_admin(monkeypatch)
    create_admin(monkeypatch, "second@example.com", "second")
    if not has_entries:
        archive_entries(sql)
    sql.do(change)
    before = sql.rows("SELECT * FROM users")
    monkeypatch.setenv("ADMIN_PASSWORD", "short")  # not read
    assert create_first_admin(monkeypatch) == 0
    assert create_first_admin(monkeypatch, "no address") == 0
    assert sql.rows("SELECT * FROM users") == before


def test_first_admin_who_was_removed_in_the_database_is_not_created_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sql: Sql
) -> None:
    create_first_admin(monkeypatch)
    sql.do("DELETE FROM users")
    capsys.readouterr()
    assert create_first_admin(monkeypatch) == 0
    assert capsys.readouterr().out == "There is an admin, or there has been one; nothing was changed.\n"
    assert sql.value("SELECT count(*) FROM users") == 0
    assert create_admin(monkeypatch) == 0  # a person may
    assert sql.value("SELECT role FROM users") == "admin"


def test_account_with_the_name_of_the_first_admin_does_not_stop_a_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sql: Sql
) -> None:
    create_first_admin(monkeypatch)
    sql.do("UPDATE users SET role = 'user'")
    archive_entries(sql)
    assert create_first_admin(monkeypatch) == 0
    assert "An account with this email already exists" in capsys.readouterr().err
    assert sql.value("SELECT role FROM users") == "user"


def archive_entries(sql: Sql) -> None:
    sql.do("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
    sql.do("GRANT DELETE ON audit_log TO CURRENT_USER")
    sql.do("DELETE FROM audit_log")
    sql.do("REVOKE DELETE ON audit_log FROM CURRENT_USER")
    sql.do("ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only")


@pytest.mark.parametrize(
    ("email", "username", "password"),
    [("root", "root", PASSWORD), ("root@example.com", "r@x", PASSWORD), ("root@example.com", "root", "s3cret")],
    ids=["address", "name", "password"],
)
def test_invalid_admin_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sql: Sql,
    email: str,
    username: str,
    password: str,
) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD", password)
    assert create_admin(monkeypatch, email, username) == 2
    captured = capsys.readouterr()
    assert captured.err
    assert password not in captured.out + captured.err
    assert sql.value("SELECT count(*) FROM users") == 0


def test_admin_at_an_own_domain_needs_the_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sql: Sql
) -> None:
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    assert create_admin(monkeypatch, "root@localhost") == 2
    assert "EMAIL_LOCAL_DOMAINS" in capsys.readouterr().err
    monkeypatch.setenv("EMAIL_LOCAL_DOMAINS", "localhost")
    assert create_admin(monkeypatch, " Root@LOCALHOST") == 0
    assert sql.value("SELECT email_canonical FROM users") == "root@localhost"


def test_colliding_accounts_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sql: Sql
) -> None:
    assert run(monkeypatch, "account-collisions") == 0
    insert = "INSERT INTO users (uuid, email, username, password_hash) VALUES (gen_random_uuid(), %s, %s, '')"
    sql.do(insert, ["jose\u0301@example.com", "first"])
    sql.do(insert, ["jos\u00e9@example.com", "second"])
    assert run(monkeypatch, "account-collisions") == 1
    first, second = (row["uuid"] for row in sql.rows("SELECT uuid FROM users ORDER BY id"))
    expected = (
        f"email of account {second} has the same canonical form as that of account {first}: jos\u00e9@example.com"
    )
    assert expected in capsys.readouterr().out
    assert run(monkeypatch, "migrate") == 0
    assert "Accounts that collide with others: 1." in capsys.readouterr().out


def test_origins_are_printed_for_the_gateway(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://A.example:443/, tauri://localhost")
    assert run(monkeypatch, "gateway-origins") == 0
    assert (
        capsys.readouterr().out
        == '"https://a.example" "https://a.example";\n"tauri://localhost" "tauri://localhost";\n'
    )


def test_check_schema_exits_with_1_on_drift(monkeypatch: pytest.MonkeyPatch, sql: Sql) -> None:
    assert run(monkeypatch, "check-schema") == 0
    sql.do("ALTER TABLE users ADD COLUMN shoe_size integer")
    try:
        assert run(monkeypatch, "check-schema") == 1
    finally:
        sql.do("ALTER TABLE users DROP COLUMN shoe_size")


def test_unavailable_database_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:s3cret@/chat?host=/nonexistent")
    for command in ("migrate", "check-schema"):
        assert run(monkeypatch, command) == 1
        captured = capsys.readouterr().err
        assert captured.count("\n") == 1
        assert "s3cret" not in captured


def test_cancelled_statement_is_not_reported_as_unreachable_database(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{database_url}&options=-c%20statement_timeout%3D1ms")
    assert run(monkeypatch, "check-schema") == 1
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert "statement_timeout" in captured


def test_missing_database_url_is_reported_in_one_line() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "migrate"],
        cwd=PROJECT / "tests",
        env=environment | {"PYTHONPATH": str(PROJECT), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "configuration: DATABASE_URL: is required\n"
