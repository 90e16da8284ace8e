from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import auth_main
from app.config import Settings
from tests.fixtures.database import Sql
from tests.fixtures.mail import PUBLIC_URL, Mailbox, empty_mailbox
from tests.fixtures.services import User


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mail")


@pytest.fixture(scope="module")
def auth_service(settings: Settings, cheap_passwords: None, directory: Path) -> Iterator[TestClient]:
    mail_settings = settings.model_copy(update={"MAIL_URL": directory.as_uri(), "PUBLIC_URL": PUBLIC_URL})
    with TestClient(auth_main.create(mail_settings), client=("203.0.113.7", 50_000)) as client:
        yield client


@pytest.fixture(autouse=True)
def mailbox(directory: Path, sql: Sql) -> Iterator[Mailbox]:
    yield from empty_mailbox(directory, sql)


@pytest.fixture
def register_user(make_user: Callable[[str], User], mailbox: Mailbox, sql: Sql) -> Callable[[str], User]:
    """Function that registers a user and removes the verification email."""

    def make(username: str) -> User:
        user = make_user(username)
        mailbox.wait_until_sent()
        mailbox.clear()
        sql.do("DELETE FROM one_time_tokens; DELETE FROM login_throttles")
        return user

    return make


@pytest.fixture
def ada(register_user: Callable[[str], User]) -> User:
    return register_user("ada")


@pytest.fixture
def bob(register_user: Callable[[str], User]) -> User:
    return register_user("bob")
