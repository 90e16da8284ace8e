"""Chat services killed with SIGKILL under load, at random times."""

import asyncio
import random
from collections.abc import Callable
from uuid import uuid4

import aiohttp
import pytest

from tests.drills import FULL_SIZE
from tests.drills.clients import Client, Reading, Refused, resume_to_the_end
from tests.drills.conftest import Report
from tests.drills.replicas import Lease, Replica
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.support.provider import Provider, answers
from tests.support.waiting import eventually

KILLS = 30 if FULL_SIZE else 5
STREAMS = 8
MAX_RECOVERY_SECONDS = Lease().seconds + 5
TEXT = " ".join(f"word{number}" for number in range(80))
STORED = """
SELECT answer.content, answer.status, question.content AS question,
       extract(epoch FROM answer.updated_at)::float AS completed_at
FROM chat_messages AS answer JOIN chat_messages AS question ON answer.parent_id = question.id WHERE answer.uuid = %s
"""
QUESTION_COUNT = "SELECT count(*) FROM chat_messages WHERE role = 'user' AND content = %s"


class ContinuousClients:
    """Clients that ask continuously, and resume each stream until its end."""

    def __init__(self, replicas: list[Replica], rng: random.Random) -> None:
        self.stopping = False
        self.questions: list[tuple[Client, str, Reading]] = []
        self.repeated = 0
        self._replicas = replicas
        self._rng = rng
        self._resuming: list[asyncio.Task[None]] = []

    async def chat(self, client: Client) -> None:
        """Ask one question after the other. Interrupted streams are resumed in the background."""
        while not self.stopping:
            question = f"question {uuid4()}"
            reading = await self._ask(client, question)
            self.questions.append((client, question, reading))
            self._resuming.append(asyncio.create_task(resume_to_the_end(client, self.url, reading)))
            if reading.end is not None:
                await self._resuming.pop()

    async def wait_for_all(self) -> None:
        await asyncio.gather(*self._resuming)

    def url(self) -> str:
        return self._rng.choice(self._replicas).url

    async def _ask(self, client: Client, question: str) -> Reading:
        """Repeat a question with an idempotency key until the message id of its answer is known."""
        key, session, broken_at = str(uuid4()), "", 0.0
        while True:
            try:
                session = session or await client.open(self.url())
                reading = await client.ask(self.url(), session, question, key=key)
            except Refused as refused:
                if refused.problem["code"] != "idempotency_in_progress":
                    raise
                return Reading(session, refused.problem["message_id"], broken_at=broken_at)
            except aiohttp.ClientError:
                pass
            else:
                if reading.message:
                    return reading
                broken_at = reading.broken_at
            self.repeated += 1
            await asyncio.sleep(0.1)


def running_calls(provider: Provider) -> int:
    """Return the number of answers that the provider is sending."""
    return sum(call.finished is None and call.abandoned is None for call in provider.calls)


@pytest.mark.usefixtures("worker")
async def test_random_kills_lose_no_acknowledged_message_and_leave_no_pending_turn(
    replicas: list[Replica], make_users: Callable[[int], list[User]], provider: Provider, sql: Sql, report: Report
) -> None:
    provider.always(answers(TEXT, every=0.02))
    rng = random.Random(5)  # noqa: S311 - not a secret
    load = ContinuousClients(replicas, rng)
    async with Client.of(*make_users(STREAMS)) as clients:
        chats = [asyncio.create_task(load.chat(client)) for client in clients]
        for _ in range(KILLS):
            await asyncio.sleep(rng.uniform(0.3, 1.3))
            await eventually(lambda: running_calls(provider) >= STREAMS // 2)
            killed_replica = rng.choice(replicas)
            await asyncio.to_thread(killed_replica.kill)
            await asyncio.to_thread(killed_replica.start)
        load.stopping = True
        await asyncio.gather(*chats)
        await load.wait_for_all()
        delays = []
        for _, question, reading in load.questions:
            (stored,) = sql.rows(STORED, [reading.message])
            assert (stored["question"], stored["content"], stored["status"]) == (question, reading.text, reading.status)
            assert sql.value(QUESTION_COUNT, [question]) == 1
            if reading.status == "interrupted":
                assert TEXT.startswith(reading.text)
                delays.append(stored["completed_at"] - reading.broken_at)
            else:
                assert (reading.status, reading.text) == ("complete", TEXT)
        interrupted = [(client, reading) for client, _, reading in load.questions if reading.status == "interrupted"]
        # Interrupted sessions accept new questions.
        provider.always(answers("Hello."))
        for client, reading in interrupted[:KILLS]:
            assert (await client.ask(replicas[0].url, reading.session)).status == "complete"
    assert len(interrupted) >= KILLS, "no kill interrupted a turn"
    assert any(reading.text for _, reading in interrupted)
    assert max(delays) < MAX_RECOVERY_SECONDS or not FULL_SIZE
    assert len(provider.calls) <= len(load.questions) + KILLS
    report(
        kills=KILLS,
        questions=len(load.questions),
        interrupted=len(interrupted),
        repeated=load.repeated,
        lost=0,
        hanging=0,
        slowest_recovery=f"{max(delays):.1f} s (lease {Lease().seconds} s)",
    )
