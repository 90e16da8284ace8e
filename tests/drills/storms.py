"""Storms: many requests at once, counted by the client, while others use the system."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

import aiohttp

T = TypeVar("T")

TIMEOUT = 300.0
REFUSALS = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the client saw of one request."""

    status: int
    """0: the connection failed."""
    code: str
    """Code of the problem document; `none` if a refusal or an error has no such document."""
    retry_after: str | None
    seconds: float

    @property
    def is_refused(self) -> bool:
        """Whether it was refused as documented."""
        return self.status in REFUSALS and self.retry_after is not None and self.code != "none"

    @property
    def is_fault(self) -> bool:
        """Whether it is neither answered nor refused as documented."""
        return not self.is_refused and (self.status == 0 or self.status >= 500 or self.status == 429)


@dataclass
class Ledger:
    """Outcomes of the requests of a storm, and of others before it and during it."""

    requests: list[Outcome] = field(default_factory=list)
    others_before: list[Outcome] = field(default_factory=list)
    others_during: list[Outcome] = field(default_factory=list)

    @property
    def codes(self) -> Counter[str]:
        """Number of requests per status and code."""
        return Counter(f"{outcome.status} {outcome.code}".rstrip() for outcome in self.requests)

    @property
    def faults(self) -> list[Outcome]:
        """Requests, also those of others, that are neither answered nor refused as documented."""
        return [outcome for outcome in (*self.requests, *self.others_during) if outcome.is_fault]

    def row(self) -> list[str]:
        """Return the cells of the table of all storms, without the name."""
        refused = [outcome for outcome in self.requests if outcome.is_refused]
        answered = len(self.requests) - len(refused) - sum(outcome.is_fault for outcome in self.requests)
        longest_refusal = max((outcome.seconds for outcome in refused), default=0.0)
        return [
            str(len(self.requests)),
            str(answered),
            str(len(refused)),
            str(len(self.faults)),
            f"{longest_refusal:.2f} s",
            f"{max(outcome.seconds for outcome in self.requests):.2f} s",
            f"{len(self.others_before)}, {len(self.others_during)}",
            f"{p95(self.others_before):.3f} s",
            f"{p95(self.others_during):.3f} s",
        ]


HEADINGS = [
    "storm",
    "requests",
    "answered",
    "refused",
    "5xx else",
    "longest refusal",
    "longest wait",
    "others",
    "p95 before",
    "p95 during",
]
"""Headings of the table. A refusal is 429 or 503 with `Retry-After` and a problem document. `5xx else` are all other
server errors, 429 without these, and lost connections. The last three are about the requests of others: how many there
were before the storm and during it, and the 95th percentile of their times."""


def p95(outcomes: list[Outcome]) -> float:
    """Return the 95th percentile of the times in seconds."""
    times = sorted(outcome.seconds for outcome in outcomes)
    return times[max(0, -(-len(times) * 95 // 100) - 1)] if times else 0.0


class StormClient:
    """Client without a limit of connections, which judges nothing."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str = "127.0.0.1") -> AsyncIterator["StormClient"]:
        """Open a client for the length of the block, which connects from an address of the loopback network."""
        # The time counts from the moment when the request is sent: before, the client opens its connections. None
        # of them is used again, because the server may be closing it.
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_restart_clock)
        connector = aiohttp.TCPConnector(limit=0, force_close=True, local_addr=(address, 0))
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, trace_configs=[trace]) as http:
            yield cls(http)

    async def send(self, method: str, url: str, **arguments: Any) -> Outcome:  # noqa: ANN401 - passed on
        """Send a request, receive the whole response, and return what was seen."""
        clock = {"started": time.monotonic()}
        try:
            async with self._http.request(method, url, trace_request_ctx=clock, **arguments) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Outcome(0, type(error).__name__, None, time.monotonic() - clock["started"])
        seconds = time.monotonic() - clock["started"]
        code = _problem_code(response.headers, body) if response.status >= 400 else ""
        return Outcome(response.status, code, response.headers.get("Retry-After"), seconds)


async def _restart_clock(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object) -> None:
    context.trace_request_ctx["started"] = time.monotonic()


def _problem_code(headers: Mapping[str, str], body: bytes) -> str:
    if headers.get("Content-Type") != "application/problem+json":
        return "none"
    return str(json.loads(body)["code"])


async def run_storm(
    requests: list[Callable[[], Awaitable[Outcome]]],
    *,
    others: Callable[[], Awaitable[Outcome]],
    seconds_before: float,
    count_before: int,
) -> Ledger:
    """Send all requests at once, while others send one after the other, and return what all of them saw.

    Before, others send requests for `seconds_before`, and at least `count_before`.
    """
    ledger = Ledger()

    async def use(outcomes: list[Outcome], ended: asyncio.Event) -> None:
        # A request that is sent during a short storm counts, although its response may come after it.
        while not ended.is_set():
            outcomes.append(await others())
            await asyncio.sleep(0.05)

    async def while_others_use(outcomes: list[Outcome], work: Awaitable[T]) -> T:
        ended = asyncio.Event()
        using = asyncio.create_task(use(outcomes, ended))
        try:
            return await work
        finally:
            ended.set()
            await using

    await while_others_use(ledger.others_before, asyncio.sleep(seconds_before))
    while len(ledger.others_before) < count_before:
        ledger.others_before.append(await others())
    storm = asyncio.gather(*(request() for request in requests))
    ledger.requests = list(await while_others_use(ledger.others_during, storm))
    return ledger
