"""Model-based test: the auth service agrees with a model after any sequence of operations."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app import auth_main
from app.config import Settings
from tests.fixtures.database import Sql, empty
from tests.fixtures.services import AUTH, CHAT, login, register

NAMES = ("ada", "bob", "eve")
PASSWORDS = ("correct horse battery", "another horse, another", "päßwort of many letters")
MAX_FAILED_LOGINS = 3
STEPS = 10_000
STEPS_PER_EXAMPLE = 50


@dataclass
class Login:
    """One family of refresh tokens."""

    access: str
    tokens: list[str]
    """All refresh tokens so far; the last one is valid."""
    is_open: bool = True


@dataclass
class Account:
    """Expected state of an account."""

    password: str
    is_active: bool = True
    failed_logins: int = 0
    logins: list[Login] = field(default_factory=list)

    def end_all(self, except_for: Login | None = None) -> None:
        for one in self.logins:
            one.is_open = one.is_open and one is except_for


class Accounts(RuleBasedStateMachine):
    """Operations on accounts, run on the services and on the model."""

    auth: ClassVar[TestClient]
    chat: ClassVar[TestClient]
    sql: ClassVar[Sql]
    steps: ClassVar[int] = 0

    @initialize()
    def start(self) -> None:
        empty(self.sql)
        self.accounts: dict[str, Account] = {}
        register(self.auth, "root")
        self.sql.do("UPDATE users SET role = 'admin'")
        self.admin = {"Authorization": f"Bearer {login(self.auth, 'root').json()['access_token']}"}

    @rule(name=st.sampled_from(NAMES), password=st.sampled_from(PASSWORDS))
    def register(self, name: str, password: str) -> None:
        response = register(self.auth, name, password=password)
        if name in self.accounts:
            assert response.status_code == 400
        else:
            assert response.status_code == 201
            self.accounts[name] = Account(password)

    @rule(name=st.sampled_from(NAMES), password=st.sampled_from(PASSWORDS))
    def log_in(self, name: str, password: str) -> None:
        account = self.accounts.get(name)
        if account is None:
            return  # its counters are tested elsewhere
        response = login(self.auth, name, password)
        if account.failed_logins >= MAX_FAILED_LOGINS:
            assert response.status_code == 429
        elif account.is_active and password == account.password:
            assert response.status_code == 200
            tokens = response.json()
            account.logins.append(Login(tokens["access_token"], [tokens["refresh_token"]]))
        else:
            assert response.status_code == 401
            account.failed_logins += 1

    def _pick(self, data: st.DataObject) -> tuple[Account, Login] | None:
        pairs = [(account, one) for account in self.accounts.values() for one in account.logins]
        return data.draw(st.sampled_from(pairs)) if pairs else None

    def _refresh(self, token: str) -> tuple[int, str | None, str | None]:
        response = self.auth.post(f"{AUTH}/refresh", json={"refresh_token": token})
        body = response.json()
        return response.status_code, body.get("refresh_token"), body.get("access_token")

    @rule(data=st.data())
    def refresh(self, data: st.DataObject) -> None:
        if (selection := self._pick(data)) is None:
            return
        _, one = selection
        status, token, access = self._refresh(one.tokens[-1])
        if not one.is_open:
            assert status == 401
            return
        assert status == 200
        assert token is not None
        assert access is not None
        assert token not in one.tokens
        one.tokens.append(token)
        one.access = access

    @rule(data=st.data(), hours=st.sampled_from([0, 1, 100]), age=st.integers(1, 4))
    def replay(self, data: st.DataObject, *, hours: int, age: int) -> None:
        if (selection := self._pick(data)) is None or len(selection[1].tokens) <= age:
            return
        _, one = selection
        self.sql.do("UPDATE auth_sessions SET rotated_at = now() - make_interval(hours => %s)", [hours])
        status, token, access = self._refresh(one.tokens[-1 - age])
        if one.is_open and age == 1:
            assert (status, token) == (200, one.tokens[-1])
            assert access is not None
            one.access = access
        else:
            assert status == 401
            one.is_open = False

    @rule(data=st.data(), all_logins=st.booleans())
    def log_out(self, data: st.DataObject, *, all_logins: bool) -> None:
        if (selection := self._pick(data)) is None:
            return
        account, one = selection
        path = "/logout-all" if all_logins else "/logout"
        response = self.auth.post(f"{AUTH}{path}", headers={"Authorization": f"Bearer {one.access}"})
        assert response.status_code == (200 if one.is_open else 401)
        if one.is_open:
            one.is_open = False
            if all_logins:
                account.end_all()

    @rule(data=st.data(), current=st.sampled_from(PASSWORDS), new=st.sampled_from(PASSWORDS))
    def change_password(self, data: st.DataObject, current: str, new: str) -> None:
        if (selection := self._pick(data)) is None:
            return
        account, one = selection
        self.sql.do("DELETE FROM login_throttles WHERE key LIKE 'confirmation:%%'")  # this limit is tested elsewhere
        response = self.auth.put(
            f"{AUTH}/password",
            headers={"Authorization": f"Bearer {one.access}"},
            json={"current_password": current, "new_password": new},
        )
        if not one.is_open:
            assert response.status_code == 401
        elif current != account.password:
            assert response.status_code == 400
        else:
            assert response.status_code == 200
            account.password = new
            account.end_all(except_for=one)

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), is_active=st.booleans())
    def disable_or_enable(self, data: st.DataObject, *, is_active: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.accounts)))
        account = self.accounts[name]
        user = self.sql.value("SELECT uuid FROM users WHERE username = %s", [name])
        response = self.auth.put(f"{AUTH}/admin/users/{user}", headers=self.admin, json={"is_active": is_active})
        assert response.status_code == 200
        if account.is_active and not is_active:
            account.end_all()
        account.is_active = is_active

    @rule()
    def attempt_window_expires(self) -> None:
        self.sql.do("UPDATE login_throttles SET window_ends_at = now()")
        for account in self.accounts.values():
            account.failed_logins = 0

    @invariant()
    def tokens_are_valid_exactly_while_their_login_is_open(self) -> None:
        type(self).steps += 1
        for account in getattr(self, "accounts", {}).values():
            for one in account.logins[-2:]:
                headers = {"Authorization": f"Bearer {one.access}"}
                expected = 200 if one.is_open else 401
                assert self.auth.get(f"{AUTH}/me", headers=headers).status_code == expected
                assert self.chat.get(f"{CHAT}/sessions?size=1", headers=headers).status_code == expected


@pytest.fixture
def strict_auth(settings: Settings, cheap_passwords: None) -> Iterator[TestClient]:
    """The auth service with a limit on login attempts that the machine reaches."""
    strict = settings.model_copy(update={"LOGIN_ATTEMPTS_PER_ACCOUNT": MAX_FAILED_LOGINS})
    with TestClient(auth_main.create(strict)) as client:
        yield client


def test_services_agree_with_model(
    strict_auth: TestClient, chat_service: TestClient, database: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)  # without ten thousand lines of the access log
    Accounts.auth, Accounts.chat, Accounts.sql = strict_auth, chat_service, database
    rounds = 0
    while Accounts.steps < STEPS:
        rounds += 1
        run_state_machine_as_test(
            Accounts,
            settings=hypothesis_settings(
                max_examples=-(-(STEPS - Accounts.steps) // STEPS_PER_EXAMPLE),
                stateful_step_count=STEPS_PER_EXAMPLE,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert rounds < 10
