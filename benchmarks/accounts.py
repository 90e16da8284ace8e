"""Whether accounts can be told from no accounts by time, and what many logins do to conversations."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import psycopg2

from benchmarks.stack import running_stack
from local.stack import Stack

TRIES = 300
FLOOD = 16
"""Logins at once."""
QUESTIONS = 150
PASSWORD = "correct horse battery staple"  # noqa: S105 - of accounts that live as long as this run


_SETTINGS = {"LOGIN_ATTEMPTS_PER_ACCOUNT": "1000", "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000"}


def telling_apart() -> str:
    """Measure whether the time of an answer tells if an account exists, and return the report."""
    with running_stack(_SETTINGS) as stack, httpx.Client(base_url=stack.url, timeout=60) as client:
        return _telling_apart(stack, client)


def login_flood() -> str:
    """Measure what many logins at once do to conversations, and return the report."""
    with running_stack(_SETTINGS) as stack, httpx.Client(base_url=stack.url, timeout=60) as client:
        return _login_flood(client)


def _register(client: httpx.Client, name: str) -> None:
    account = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
    client.post("/api/v1/auth/register", json=account).raise_for_status()


def _telling_apart(stack: Stack, client: httpx.Client) -> str:
    _register(client, "known")
    auth = "/api/v1/auth"
    requests: dict[str, Callable[[str], httpx.Response]] = {
        "login with an address": lambda name: client.post(
            f"{auth}/login", data={"username": f"{name}@example.com", "password": "wrong password"}
        ),
        "login with a name": lambda name: client.post(
            f"{auth}/login", data={"username": name, "password": "wrong password"}
        ),
        "password/forgot": lambda name: client.post(f"{auth}/password/forgot", json={"email": f"{name}@example.com"}),
        "email/verify/resend": lambda name: client.post(
            f"{auth}/email/verify/resend", json={"email": f"{name}@example.com"}
        ),
    }
    lines = [
        f"Medians over {TRIES} tries each, known and unknown in turns, through the gateway:",
        "",
        "| Request | answer to both | known account | unknown account | ratio |",
        "|---|---|---|---|---|",
    ]
    with _without_throttles(stack) as reset:
        for title, request in requests.items():
            seconds: dict[str, list[float]] = {"known": [], "nobody": []}
            answers: dict[str, set[tuple[int, str]]] = {"known": set(), "nobody": set()}
            for number in range(TRIES * 2 + 20):
                name = ("known", "nobody")[number % 2]
                reset()
                started = time.perf_counter()
                response = request(name)
                if number >= 20:  # noqa: PLR2004 - the first ones warm up
                    seconds[name].append(time.perf_counter() - started)
                answers[name].add((response.status_code, response.json().get("code", "")))
            if answers["known"] != answers["nobody"]:
                raise SystemExit(f"{title}: the answers differ: {answers}")
            known, nobody = (statistics.median(seconds[name]) * 1000 for name in ("known", "nobody"))
            lines.append(
                f"| {title} | {_only(answers['known'])} | {known:.1f} ms | {nobody:.1f} ms | {known / nobody:.3f} |"
            )
    return "\n".join(lines)


def _only(answers: set[tuple[int, str]]) -> str:
    ((status, code),) = answers
    return f"{status} {code}".strip()


@contextmanager
def _without_throttles(stack: Stack) -> Iterator[Callable[[], None]]:
    # What is measured is the answer to a try, not to one too many.
    connection = psycopg2.connect(stack.settings["DATABASE_URL"])
    connection.autocommit = True
    cursor = connection.cursor()
    try:
        yield lambda: cursor.execute("DELETE FROM login_throttles")
    finally:
        connection.close()


def _login_flood(client: httpx.Client) -> str:
    _register(client, "ada")
    tokens = client.post("/api/v1/auth/login", data={"username": "ada", "password": PASSWORD}).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}

    def ask() -> float:
        started = time.perf_counter()
        client.post("/api/v1/chat/direct", json={"message": "Hi"}, headers=headers).raise_for_status()
        return time.perf_counter() - started

    quiet, flooded = [], []
    logins = 0
    for _ in range(3):  # in turns, because the machine's own noise comes and goes
        ask()
        quiet += [ask() for _ in range(QUESTIONS // 3)]
        with _flood(client.base_url) as count:
            time.sleep(1)
            flooded += [ask() for _ in range(QUESTIONS // 3)]
        logins += count()
    rows = [
        (title, statistics.median(times) * 1000, sorted(times)[len(times) * 95 // 100] * 1000)
        for title, times in (("no logins", quiet), (f"{FLOOD} logins at once, all the time", flooded))
    ]
    return "\n".join(
        [
            f"A direct question to the chat service, {QUESTIONS} each, by a provider that answers at once:",
            "",
            "| Meanwhile | median | p95 |",
            "|---|---|---|",
            *(f"| {title} | {median:.1f} ms | {p95:.1f} ms |" for title, median, p95 in rows),
            f"| ratio | {rows[1][1] / rows[0][1]:.2f} | {rows[1][2] / rows[0][2]:.2f} |",
            "",
            f"Logins evaluated in the meantime: {logins}.",
        ]
    )


@contextmanager
def _flood(base_url: httpx.URL) -> Iterator[Callable[[], int]]:
    is_over = threading.Event()
    done: list[int] = []

    def log_in(number: int) -> None:
        form = {"username": f"nobody-{number}", "password": "wrong password"}
        with httpx.Client(base_url=base_url, timeout=60) as client:
            while not is_over.is_set():
                done.append(client.post("/api/v1/auth/login", data=form).status_code)

    with ThreadPoolExecutor(FLOOD) as pool:
        for number in range(FLOOD):
            pool.submit(log_in, number)
        try:
            yield lambda: done.count(401)
        finally:
            is_over.set()
