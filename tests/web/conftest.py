"""One browser, and one running system whose provider can be scripted; what is not scripted, the small model answers.

It is another system than that of `tests/e2e`, whose services talk to the model directly.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from app.config import Settings
from local.model import MODEL_SETTINGS, Model
from local.stack import Stack
from tests.e2e.conftest import ADMIN_PASSWORD, PASSWORD, SETTINGS, free_gateway_port, gateway_client
from tests.fixtures.database import Sql
from tests.fixtures.servers import temporary_home
from tests.support.provider import Provider
from tests.web.model import forwards, is_background
from tests.web.watch import Watch

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT = 30_000
"""Milliseconds that a page has for what a test expects: most of it happens at once, on a busy machine it may last."""
READER = {
    "viewport": {"width": 1280, "height": 800},
    "locale": "en-GB",
    "timezone_id": "Europe/Berlin",
    "reduced_motion": "reduce",
}
"""What a browser tells of its reader, if a test says nothing else."""

expect.set_options(timeout=TIMEOUT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Playwright's loop stays that of the main thread, so that asynchronous tests cannot run after these.
    items.sort(key=lambda item: item.path.is_relative_to(Path(__file__).parent))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        message = f"no browser found; looked for {', '.join(BROWSERS)}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    # Chromium's sandbox does not work for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {**browser_type_launch_args, "executable_path": program, "args": arguments}


@pytest.fixture(scope="session")
def stack(provider_server: Provider) -> Iterator[Stack]:
    # Settings of the developer must not replace components.
    settings = {*Settings.model_fields, "ADMIN_EMAIL"}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    own = {**MODEL_SETTINGS, "OPENAI_BASE_URL": provider_server.base_url, "LLM_STREAM_PAUSE": "60"}
    own["WEBHOOK_ALLOWED_HOSTS"] = "127.0.0.1"
    with ExitStack() as cleanup:
        home = cleanup.enter_context(temporary_home())
        stack = Stack(home, free_gateway_port(), environment | SETTINGS | own)
        model = Model(home, stack.ports.model)
        cleanup.callback(model.stop)  # after the services, which may still ask it for a title
        model.start()
        yield cleanup.enter_context(stack)


@pytest.fixture
def sql(stack: Stack) -> Iterator[Sql]:
    """Connection to the system's database."""
    connection = Sql(stack.owner_database_url)
    yield connection
    connection.close()


@pytest.fixture
def provider(provider_server: Provider, stack: Stack) -> Provider:
    """The provider, which passes on what is not scripted."""
    provider_server.reset()
    model = forwards(Model(stack.home, stack.ports.model).url)
    provider_server.always(model)
    provider_server.always_for(is_background, model)
    return provider_server


@pytest.fixture(scope="session")
def base_url(stack: Stack) -> str:
    return stack.url


@dataclass(frozen=True)
class Member:
    """An account, with a client of the API and with what its browser stores after a login."""

    username: str
    client: httpx.Client
    storage: dict[str, Any]


_numbers = count(1)


@pytest.fixture
def make_member(stack: Stack) -> Iterator[Callable[..., Member]]:
    """Function that makes an account, and logs in through the API as a page does."""
    clients: list[httpx.Client] = []

    def make(username: str | None = None, password: str = PASSWORD) -> Member:
        client = gateway_client(stack)
        clients.append(client)
        if username is None:
            username = f"reader-{next(_numbers)}"
            account = {"email": f"{username}@example.com", "username": username, "password": password}
            client.post("/api/v1/auth/register", json=account).raise_for_status()
        form = {"username": username, "password": password}
        login = client.post("/api/v1/auth/login", data=form, headers={"X-Refresh-Transport": "cookie"})
        login.raise_for_status()
        client.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        return Member(username, client, _storage(stack.url, client))

    yield make
    for client in clients:
        client.close()


def _storage(origin: str, client: httpx.Client) -> dict[str, Any]:
    (cookie,) = client.cookies.jar
    client.cookies.clear()  # from now on the cookie is the browser's
    stored = {"name": cookie.name, "value": cookie.value or "", "domain": "localhost", "path": cookie.path}
    flags = {"expires": cookie.expires or -1, "httpOnly": True, "secure": False, "sameSite": "Strict"}
    local = [{"name": "login", "value": "1-2-3-4"}]
    return {"cookies": [stored | flags], "origins": [{"origin": origin, "localStorage": local}]}


@pytest.fixture
def member(make_member: Callable[..., Member]) -> Member:
    return make_member()


@pytest.fixture
def admin(make_member: Callable[..., Member]) -> Member:
    return make_member("admin", ADMIN_PASSWORD)


@pytest.fixture
def watches() -> Iterator[dict[BrowserContext, Watch]]:
    """The watch of each context. At the end of the test, no page may have done what none may do."""
    watches: dict[BrowserContext, Watch] = {}
    yield watches
    assert [fault for watch in watches.values() for fault in watch.faults] == []


Visit = Callable[..., Page]


@pytest.fixture
def visit(
    watches: dict[BrowserContext, Watch], new_context: Callable[..., BrowserContext], provider: Provider, stack: Stack
) -> Visit:
    """Function that opens a page in a browser context of its own, logged in as a member or as nobody."""

    def visit(path: str, member: Member | None = None, **options: object) -> Page:
        login = {"storage_state": member.storage} if member else {}
        context = new_context(**(READER | options | login))
        context.set_default_timeout(TIMEOUT)
        watches[context] = Watch(context, stack.url)
        page = context.new_page()
        page.goto(path)
        return page

    return visit


@pytest.fixture(autouse=True)
def _browser_is_installed(browser_type_launch_args: dict[str, Any]) -> None:
    """Skip the test before the system is started for it."""
