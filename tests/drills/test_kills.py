"""Chat services that are killed with SIGKILL under load, at any moment."""

import asyncio
import random
from collections.abc import Callable
from uuid import uuid4

import aiohttp
import pytest

from tests.drills.clients import Client, Reading, Refused, follow_to_the_end
from tests.drills.conftest import FULL_SIZE, Report
from tests.drills.replicas import Lease, Replica
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.support.provider import Provider, answers

KILLS = 30 if FULL_SIZE else 5
STREAMS = 8
SETTLED_WITHIN = Lease().seconds + 5
TEXT = " ".join(f"word{number}" for number in range(80))
STORED = """
SELECT answer.content, answer.status, question.content AS question,
       extract(epoch FROM answer.updated_at)::float AS settled_at
FROM chat_messages AS answer JOIN chat_messages AS question ON answer.parent_id = question.id WHERE answer.uuid = %s
"""
COPIES = "SELECT count(*) FROM chat_messages WHERE role = 'user' AND content = %s"


class Crowd:
    """People who ask all the time, and come back to each answer until it has ended."""

    def __init__(self, replicas: list[Replica], chance: random.Random) -> None:
        self.stopping = False
        self.asked: list[tuple[Client, str, Reading]] = []
        self.asked_again = 0
        self._replicas = replicas
        self._chance = chance
        self._followed: list[asyncio.Task[None]] = []

    async def chat(self, client: Client) -> None:
        """Keep one answer coming. One that is cut is followed elsewhere while the next is asked for."""
        while not self.stopping:
            question = f"question {uuid4()}"
            reading = await self._ask(client, question)
            self.asked.append((client, question, reading))
            self._followed.append(asyncio.create_task(follow_to_the_end(client, self.url, reading)))
            if reading.end is not None:
                await self._followed.pop()

    async def see_everything_end(self) -> None:
        await asyncio.gather(*self._followed)

    def url(self) -> str:
        return self._chance.choice(self._replicas).url

    async def _ask(self, client: Client, question: str) -> Reading:
        """Ask, under a key, until it is known that the question has been heard."""
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
            self.asked_again += 1
            await asyncio.sleep(0.1)


@pytest.mark.usefixtures("worker")
async def test_killed_at_any_moment_nothing_acknowledged_is_lost_and_no_turn_hangs(
    replicas: list[Replica], people: Callable[[int], list[User]], provider: Provider, sql: Sql, report: Report
) -> None:
    provider.always(answers(TEXT, every=0.02))
    chance = random.Random(5)  # noqa: S311 - not a secret
    crowd = Crowd(replicas, chance)
    async with Client.of(*people(STREAMS)) as clients:
        chats = [asyncio.create_task(crowd.chat(client)) for client in clients]
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.3, 1.3))
            victim = chance.choice(replicas)
            await asyncio.to_thread(victim.kill)
            await asyncio.to_thread(victim.start)
        crowd.stopping = True
        await asyncio.gather(*chats)
        await crowd.see_everything_end()
        delays = []
        for _, question, reading in crowd.asked:
            (stored,) = sql.rows(STORED, [reading.message])
            assert (stored["question"], stored["content"], stored["status"]) == (question, reading.text, reading.status)
            assert sql.value(COPIES, [question]) == 1
            if reading.status == "interrupted":
                assert TEXT.startswith(reading.text)
                delays.append(stored["settled_at"] - reading.broken_at)
            else:
                assert (reading.status, reading.text) == ("complete", TEXT)
        interrupted = [(client, reading) for client, _, reading in crowd.asked if reading.status == "interrupted"]
        # And their sessions go on.
        provider.always(answers("Hello."))
        for client, reading in interrupted[:KILLS]:
            assert (await client.ask(replicas[0].url, reading.session)).status == "complete"
    assert len(interrupted) >= KILLS, "the kills met nobody"
    assert any(reading.text for _, reading in interrupted)
    assert max(delays) < SETTLED_WITHIN
    assert len(provider.calls) <= len(crowd.asked) + KILLS
    report(
        kills=KILLS,
        questions=len(crowd.asked),
        interrupted=len(interrupted),
        asked_again=crowd.asked_again,
        lost=0,
        hanging=0,
        slowest_settled_after=f"{max(delays):.1f} s (lease {Lease().seconds} s)",
    )
