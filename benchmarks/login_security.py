"""Benchmarks of account enumeration by response time, and of chat latency during a login flood."""

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

REQUESTS = 300
"""Requests of each kind, to known and to unknown accounts each."""
_WARM_UP_REQUESTS = 20
CONCURRENT_LOGINS = 16
QUESTIONS = 150
PASSWORD = "correct horse battery staple"  # noqa: S105 - accounts exist during this run only
_SETTINGS = {"LOGIN_ATTEMPTS_PER_ACCOUNT": "1000", "LOGIN_ATTEMPTS_PER_ADDRESS": "1000000"}


def account_enumeration() -> str:
    """Measure response times for known and unknown accounts, and return the report."""
    with running_stack(_SETTINGS) as stack, httpx.Client(base_url=stack.url, timeout=60) as client:
        return _measure_response_times(stack, client)


def login_flood() -> str:
    """Measure the latency of questions during many concurrent logins, and return the report."""
    with running_stack(_SETTINGS) as stack, httpx.Client(base_url=stack.url, timeout=60) as client:
        return _measure_login_flood(client)


def _register(client: httpx.Client, name: str) -> None:
    account = {"email": f"{name}@example.com", "username": name, "password": PASSWORD}
    client.post("/api/v1/auth/register", json=account).raise_for_status()


def _measure_response_times(stack: Stack, client: httpx.Client) -> str:
    _register(client, "known")
    auth = "/api/v1/auth"
    requests: dict[str, Callable[[str], httpx.Response]] = {
        "login with email address": lambda name: client.post(
            f"{auth}/login", data={"username": f"{name}@example.com", "password": "wrong password"}
        ),
        "login with username": lambda name: client.post(
            f"{auth}/login", data={"username": name, "password": "wrong password"}
        ),
        "password/forgot": lambda name: client.post(f"{auth}/password/forgot", json={"email": f"{name}@example.com"}),
        "email/verify/resend": lambda name: client.post(
            f"{auth}/email/verify/resend", json={"email": f"{name}@example.com"}
        ),
    }
    lines = [
        f"Medians of {REQUESTS} requests each, alternately for a known and an unknown account, through Nginx:",
        "",
        "| Request | response to both | known account | unknown account | ratio |",
        "|---|---|---|---|---|",
    ]
    with _without_throttles(stack) as reset:
        for title, request in requests.items():
            seconds: dict[str, list[float]] = {"known": [], "unknown": []}
            responses: dict[str, set[tuple[int, str]]] = {"known": set(), "unknown": set()}
            for number in range(REQUESTS * 2 + _WARM_UP_REQUESTS):
                name = ("known", "unknown")[number % 2]
                reset()
                started = time.perf_counter()
                response = request(name)
                if number >= _WARM_UP_REQUESTS:
                    seconds[name].append(time.perf_counter() - started)
                responses[name].add((response.status_code, response.json().get("code", "")))
            if responses["known"] != responses["unknown"]:
                raise SystemExit(f"{title}: the responses differ: {responses}")
            known, unknown = (statistics.median(seconds[name]) * 1000 for name in ("known", "unknown"))
            response_text = _describe(responses["known"])
            lines.append(f"| {title} | {response_text} | {known:.1f} ms | {unknown:.1f} ms | {known / unknown:.3f} |")
    return "\n".join(lines)


def _describe(responses: set[tuple[int, str]]) -> str:
    ((status, code),) = responses
    return f"{status} {code}".strip()


@contextmanager
def _without_throttles(stack: Stack) -> Iterator[Callable[[], None]]:
    # The counters of brute-force protection are deleted before each request, so that none is refused.
    connection = psycopg2.connect(stack.owner_database_url)
    connection.autocommit = True
    cursor = connection.cursor()
    try:
        yield lambda: cursor.execute("DELETE FROM login_throttles")
    finally:
        connection.close()


def _measure_login_flood(client: httpx.Client) -> str:
    _register(client, "ada")
    tokens = client.post("/api/v1/auth/login", data={"username": "ada", "password": PASSWORD}).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}

    def ask() -> float:
        started = time.perf_counter()
        client.post("/api/v1/chat/direct", json={"message": "Hi"}, headers=headers).raise_for_status()
        return time.perf_counter() - started

    idle, flooded = [], []
    login_count = 0
    for _ in range(3):  # alternately, because the load of the machine varies
        ask()
        idle += [ask() for _ in range(QUESTIONS // 3)]
        with _flood(client.base_url) as count_logins:
            time.sleep(1)
            flooded += [ask() for _ in range(QUESTIONS // 3)]
        login_count += count_logins()
    rows = [
        (title, statistics.median(times) * 1000, sorted(times)[len(times) * 95 // 100] * 1000)
        for title, times in (("no logins", idle), (f"{CONCURRENT_LOGINS} concurrent logins", flooded))
    ]
    return "\n".join(
        [
            f"{QUESTIONS} direct questions to the chat service each, with a provider that responds immediately:",
            "",
            "| Background load | median | p95 |",
            "|---|---|---|",
            *(f"| {title} | {median:.1f} ms | {p95:.1f} ms |" for title, median, p95 in rows),
            f"| ratio | {rows[1][1] / rows[0][1]:.2f} | {rows[1][2] / rows[0][2]:.2f} |",
            "",
            f"Logins evaluated during the flood: {login_count}.",
        ]
    )


@contextmanager
def _flood(base_url: httpx.URL) -> Iterator[Callable[[], int]]:
    is_over = threading.Event()
    statuses: list[int] = []

    def log_in(number: int) -> None:
        form = {"username": f"unknown-{number}", "password": "wrong password"}
        with httpx.Client(base_url=base_url, timeout=60) as client:
            while not is_over.is_set():
                statuses.append(client.post("/api/v1/auth/login", data=form).status_code)

    with ThreadPoolExecutor(CONCURRENT_LOGINS) as pool:
        for number in range(CONCURRENT_LOGINS):
            pool.submit(log_in, number)
        try:
            yield lambda: statuses.count(401)
        finally:
            is_over.set()
