"""Mixed load through the gateway, with a ledger of what was acknowledged to the clients."""

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import aiohttp

from tests.drills.clients import Client, Reading, Refused
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, CHAT, User
from tests.support.provider import Call, Wire, answers

ANSWERS = """
SELECT question.content AS question, answer.uuid::text AS message, answer.content, answer.status
FROM chat_messages AS answer JOIN chat_messages AS question ON answer.parent_id = question.id
WHERE question.role = 'user' AND question.content LIKE %s
"""
REPETITIONS = 12
BUSY = {"overloaded", "too_many_requests", "too_many_streams", "too_many_questions", "too_many_logins"}
RUNNING = {"idempotency_in_progress", "turn_active"}


async def repeat_the_question(call: Call, wire: Wire) -> None:
    """Behaviour of the provider: an answer from which its question can be told."""
    # Earlier questions of the session without an answer are in the same message, before the last one.
    question = call.messages[-1]["content"].rpartition("\n\n")[2]
    await answers(full_answer(question), every=0.05)(call, wire)


def full_answer(question: str) -> str:
    return " ".join([question] * REPETITIONS)


@dataclass
class FaultLedger:
    """What the clients of a drill have seen, and what the database has afterwards."""

    requests: int = 0
    repeated: Counter[str] = field(default_factory=Counter)
    """Responses that told the client to send the request again, by code."""
    unhandled: list[str] = field(default_factory=list)
    """Errors without such advice: other 5xx, connections that the gateway closed, and refused credentials."""
    foreign: int = 0
    """Texts and names of other accounts."""
    cut: int = 0
    """Streams that ended without a terminal event, and were resumed."""
    readings: list[tuple[str, Reading]] = field(default_factory=list)
    lost: int = 0
    duplicates: int = 0
    stuck: int = 0

    @property
    def statuses(self) -> Counter[str]:
        """Number of answers by their status."""
        return Counter(reading.status for _, reading in self.readings)

    @property
    def failed(self) -> Counter[str]:
        """Responses because of a fault, not because the machine is busy or the turn still runs."""
        return Counter({code: count for code, count in self.repeated.items() if code not in BUSY | RUNNING})

    def verdict(self) -> dict[str, int]:
        """Return what must be zero after every fault."""
        return {
            "lost": self.lost,
            "duplicates": self.duplicates,
            "foreign": self.foreign,
            "unhandled": len(self.unhandled),
            "stuck": self.stuck,
        }

    def row(self) -> list[str]:
        """Return the cells of the table, without the name."""
        statuses = self.statuses
        counts = (statuses["complete"], statuses["interrupted"], statuses["failed"])
        seen = (self.requests, *counts, self.cut, self.failed.total())
        return [*map(str, seen), *map(str, self.verdict().values())]


HEADINGS = [
    "fault",
    "requests",
    "complete",
    "interrupted",
    "failed",
    "cut",
    "repeated",
    "acknowledged and lost",
    "duplicates",
    "foreign",
    "unhandled",
    "stuck",
]


class Workload:
    """Accounts that ask, list, change their names, refresh their logins and read reports, until `stop`."""

    def __init__(self, http: aiohttp.ClientSession, url: str, users: list[User]) -> None:
        """Prepare the load; the first user is an admin."""
        self.ledger = FaultLedger()
        self.mark = f"canary-{uuid4().hex[:8]}"
        self._http = http
        self._url = url
        self._users = users
        self._stopping = False
        self._names: dict[str, tuple[int, int]] = {}
        """Per account the last acknowledged and the last sent number in its name."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all clients."""
        for user in self._users:
            works = [self._ask_streamed, self._ask_plain, self._list, self._rename, self._refresh]
            if user is self._users[0]:
                works.append(self._report)
            self._tasks += [asyncio.create_task(work(user)) for work in works]

    def check(self) -> None:
        """Raise the exception of a client that has failed, and therefore sends no more requests."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def stop(self) -> None:
        """Let all clients finish what they have begun."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def audit(self, sql: Sql) -> None:
        """Compare what was acknowledged with the database; wait before until no turn should be pending."""
        rows = sql.rows(ANSWERS, [f"{self.mark}%"])
        stored = {row["message"]: row for row in rows}
        for question, reading in self.ledger.readings:
            row = stored.get(reading.message)
            expected = (question, reading.text, reading.status)
            if row is None or (row["question"], row["content"], row["status"]) != expected:
                self.ledger.lost += 1
        counts = Counter(row["question"] for row in rows)
        self.ledger.duplicates = sum(count - 1 for count in counts.values())
        self.ledger.stuck = sum(row["status"] == "pending" for row in rows)
        for user, (acknowledged, sent) in self._names.items():
            number = int(sql.value("SELECT full_name FROM users WHERE uuid = %s", [user]).rpartition(" ")[2])
            self.ledger.lost += not acknowledged <= number <= sent

    async def _call(self, user: User, method: str, path: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401
        """Send a request until it is answered, as the responses advise.

        Raises:
            Refused: a response that is no advice to repeat.

        """
        headers = user.headers | arguments.pop("headers", {})
        while True:
            self.ledger.requests += 1
            try:
                async with self._http.request(method, self._url + path, headers=headers, **arguments) as response:
                    document: dict[str, Any] = await response.json(content_type=None)
                    if response.ok:
                        return document
                    refused = Refused(response.status, document)
                    self._judge(refused, response.headers.get("Retry-After"))
            except (aiohttp.ClientError, ValueError) as error:
                self.ledger.unhandled.append(f"{method} {path}: {error!r}")
            await asyncio.sleep(0.3)

    def _judge(self, refused: Refused, retry_after: str | None) -> None:
        """Count a refusal, and raise it if it is none that tells clients to repeat."""
        code = str(refused.problem.get("code"))
        is_advice = refused.status in {429, 502, 503, 504} and (retry_after is not None or refused.status == 504)
        if is_advice or code in RUNNING:
            self.ledger.repeated[code] += 1
            return
        self.ledger.unhandled.append(f"{refused.status} {code}")
        if refused.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise refused

    async def _ask_streamed(self, user: User) -> None:
        client = Client(self._http, user)
        session = str((await self._call(user, "POST", f"{CHAT}/sessions", json={"title": "Drill"}))["session_id"])
        while not self._stopping:
            question, key = f"{self.mark}-{user.username}-{uuid4().hex}", str(uuid4())
            reading = Reading(session)
            while not reading.message:
                self.ledger.requests += 1
                try:
                    reading = await client.ask(self._url, session, question, key=key)
                except Refused as refused:
                    self._judge(refused, refused.retry_after)
                    message = refused.problem.get("message_id")
                    if refused.problem["code"] == "idempotency_in_progress" and message:
                        reading.message = message
                await asyncio.sleep(0.1)
            while reading.end is None:
                self.ledger.requests += 1
                try:
                    await client.resume(self._url, reading)
                except Refused as refused:
                    self._judge(refused, refused.retry_after)
                await asyncio.sleep(0.1)
            self.ledger.cut += reading.broken_at > 0
            self._acknowledge(question, reading)

    async def _ask_plain(self, user: User) -> None:
        session = str((await self._call(user, "POST", f"{CHAT}/sessions", json={"title": "Drill"}))["session_id"])
        while not self._stopping:
            question, key = f"{self.mark}-{user.username}-{uuid4().hex}", str(uuid4())
            turn = await self._call(
                user,
                "POST",
                f"{CHAT}/sessions/{session}/messages",
                json={"message": question},
                headers={"Idempotency-Key": key},
            )
            answer = turn["ai_response"]
            reading = Reading(session, answer["id"], answer["content"])
            reading.finish(answer["status"])
            self._acknowledge(question, reading)

    def _acknowledge(self, question: str, reading: Reading) -> None:
        self.ledger.readings.append((question, reading))
        is_own = full_answer(question).startswith(reading.text)
        if not is_own and (reading.status != "failed" or "canary" in reading.text):
            self.ledger.foreign += 1

    async def _list(self, user: User) -> None:
        own: set[str] | None = None
        while not self._stopping:
            page = await self._call(user, "GET", f"{CHAT}/sessions")
            listed = {one["session_id"] for one in page["sessions"]}
            # Each client has two sessions, which it has opened at the beginning.
            own = (own or set()) | listed
            self.ledger.foreign += len(own) > 2
            await asyncio.sleep(0.1)

    async def _rename(self, user: User) -> None:
        for number in itertools.count():
            if self._stopping:
                return
            acknowledged, _ = self._names.get(user.id, (0, 0))
            name = f"{user.username} {number}"
            if number:
                self._names[user.id] = (acknowledged, number)
            await self._call(user, "PUT", f"{AUTH}/profile", json={"full_name": name})
            self._names[user.id] = (number, number)
            await asyncio.sleep(0.2)

    async def _refresh(self, user: User) -> None:
        token = user.refresh_token
        while not self._stopping:
            tokens = await self._call(user, "POST", f"{AUTH}/refresh", json={"refresh_token": token})
            token = tokens["refresh_token"]
            await asyncio.sleep(0.3)

    async def _report(self, user: User) -> None:
        while not self._stopping:
            await self._call(user, "GET", f"{ADMIN}/overview")
            await asyncio.sleep(0.3)
