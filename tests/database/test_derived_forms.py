"""Canonical forms of accounts that exist, or that the previous release writes during a rolling upgrade."""

import logging
from collections.abc import Iterator
from uuid import UUID

import pytest
from alembic import command

from app.database import derived_forms, migrations
from tests.fixtures.database import Sql

INSERT = """
INSERT INTO users (uuid, email, username, full_name, password_hash)
VALUES (gen_random_uuid(), %s, %s, %s, '') RETURNING uuid
"""
FORMS = "SELECT username, email_canonical, username_canonical, email_folded, full_name_folded FROM users ORDER BY id"
COMPOSED, DECOMPOSED = "jos\u00e9@example.com", "jose\u0301@example.com"


def insert(sql: Sql, email: str, username: str, full_name: str | None = None) -> UUID:
    """Insert an account as the previous release does, and return its public id."""
    account: UUID = sql.value(INSERT, (email, username, full_name))
    return account


@pytest.fixture
def before(empty_database_url: str) -> Iterator[Sql]:
    """A database of the previous release."""
    command.upgrade(migrations.alembic_config(empty_database_url), "0024")
    sql = Sql(empty_database_url)
    yield sql
    sql.close()


def test_existing_accounts_get_their_forms(empty_database_url: str, before: Sql) -> None:
    insert(before, "Ada@Example.com", "Ada", "Ada Lovelace")
    insert(before, "Info@bücher.example", "books", "STRA\u1e9eE")
    migrations.upgrade(empty_database_url)
    assert [tuple(row.values()) for row in before.rows(FORMS)] == [
        ("Ada", "ada@example.com", "ada", "ada@example.com", "ada lovelace"),
        ("books", "info@xn--bcher-kva.example", "books", "info@bücher.example", "strasse"),
    ]


def test_the_oldest_of_colliding_accounts_gets_the_form_and_the_others_are_reported(
    empty_database_url: str, before: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    oldest = insert(before, DECOMPOSED, "oldest")
    later = [insert(before, COMPOSED, "second"), insert(before, "ｊｏｓ\u00e9@example.com", "third")]
    with caplog.at_level(logging.WARNING, logger="alembic.runtime.migration"):
        migrations.upgrade(empty_database_url)
    reported = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert reported == [
        f"email of account {account} has the same canonical form as that of account {oldest}" for account in later
    ]
    assert "example.com" not in caplog.text
    assert [row["email_canonical"] for row in before.rows(FORMS)] == [COMPOSED, None, None]
    # Nothing is lost: the addresses are still stored, and an erased account makes way for the next one.
    assert before.value("SELECT count(*) FROM users") == 3
    before.do("DELETE FROM users WHERE uuid = %s", [oldest])
    collisions = derived_forms.fill_database(empty_database_url)
    assert [(collision.account, collision.other) for collision in collisions] == [(later[1], later[0])]


@pytest.mark.parametrize("email", ["Ada@Example.com", "Jos\u00e9@example.com"])
def test_previous_release_writes_while_both_run(empty_database_url: str, before: Sql, email: str) -> None:
    migrations.upgrade(empty_database_url)
    insert(before, email, "Ada", "Ada")
    before.do("UPDATE users SET username = 'Grace', full_name = 'Grace' WHERE username = 'Ada'")
    (forms,) = before.rows(FORMS)
    assert (forms["username_canonical"], forms["full_name_folded"]) == ("grace", "grace")
    derived_forms.fill_database(empty_database_url)
    (forms,) = before.rows(FORMS)
    assert forms["email_canonical"] == email.lower()


def test_a_name_that_is_not_ascii_has_no_stale_form(empty_database_url: str, before: Sql) -> None:
    migrations.upgrade(empty_database_url)
    insert(before, "ada@example.com", "ada", "Ada")
    before.do("UPDATE users SET full_name = 'Ádá'")
    assert before.value("SELECT full_name_folded FROM users") is None
    derived_forms.fill_database(empty_database_url)
    assert before.value("SELECT full_name_folded FROM users") == "ádá"


def test_statements_of_the_previous_release_still_work(empty_database_url: str, before: Sql) -> None:
    migrations.upgrade(empty_database_url)
    statement = """
        INSERT INTO invitations (uuid, email, role, expires_at) VALUES (gen_random_uuid(), %s, 'user', now())
        ON CONFLICT (lower(email)) DO UPDATE SET email = excluded.email, role = 'admin'
    """
    for email in ("Ada@example.com", "ADA@example.com"):
        before.do(statement, [email])
    assert before.rows("SELECT email, email_canonical, role FROM invitations") == [
        {"email": "ADA@example.com", "email_canonical": "ada@example.com", "role": "admin"}
    ]
    before.do("INSERT INTO outgoing_mails (kind, recipient) VALUES ('reset_password', 'Ada@example.com')")
    assert before.value("SELECT recipient_canonical FROM outgoing_mails") == "ada@example.com"


def test_the_migration_continues_after_an_interruption_and_can_be_undone(empty_database_url: str, before: Sql) -> None:
    insert(before, COMPOSED, "ada")
    config = migrations.alembic_config(empty_database_url)
    command.upgrade(config, "0026")
    before.do("CREATE UNIQUE INDEX uq_users_email_canonical ON users (email_canonical)")  # of an interrupted run
    migrations.upgrade(empty_database_url)
    command.downgrade(config, "0024")
    insert(before, "bob@example.com", "bob")
    migrations.upgrade(empty_database_url)
    assert migrations.find_drift(empty_database_url) is None
    assert [row["email_canonical"] for row in before.rows(FORMS)] == [COMPOSED, "bob@example.com"]
