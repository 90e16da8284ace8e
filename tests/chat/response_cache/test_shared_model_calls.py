"""Concurrent identical questions, which share a model call."""

import asyncio
import itertools
import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from redis import Redis

from tests.chat.response_cache.cached_answers import STRIPPED_TEXT, TEXT
from tests.fixtures.database import Sql
from tests.fixtures.services import CHAT, User
from tests.fixtures.streaming import ChatServer, text_of
from tests.support.provider import Call, Provider, Wire, answers, held
from tests.support.waiting import closed_gate, wait_until


def test_concurrent_identical_questions_share_one_model_call(
    ada_server: ChatServer, provider: Provider, sql: Sql
) -> None:
    sessions = [ada_server.open() for _ in range(10)]
    with ThreadPoolExecutor(10) as pool, closed_gate() as gate:
        provider.always(held(gate, answers(TEXT, usage=(12, 100))))
        futures = [pool.submit(ada_server.ask_all, session) for session in sessions]
        wait_until(lambda: sql.value("SELECT count(*) FROM chat_messages WHERE status = 'pending'") == 10)
        gate.set()
        all_events = [future.result() for future in futures]
    assert {text_of(events) for events in all_events} == {STRIPPED_TEXT}
    assert len(provider.calls) == 1
    assert sorted(row["prompt_tokens"] for row in sql.rows("SELECT prompt_tokens FROM llm_calls")) == [0] * 9 + [12]


def test_cancelling_one_of_two_turns_with_a_shared_model_call_does_not_cancel_the_other(
    ada_server: ChatServer, provider: Provider, sql: Sql
) -> None:
    cancelled, continued = ada_server.open(), ada_server.open()
    with closed_gate() as gate:
        provider.always(answers(TEXT, every=0.01, end=gate, usage=(12, 100)))
        with ada_server.ask(cancelled) as reader, ada_server.ask(continued) as second:
            created, _ = reader.take(2)
            second.take(2)
            assert ada_server.cancel(cancelled, created.data["message_id"]).json()["status"] == "cancelled"
            gate.set()
            assert list(second)[-1].name == "message.completed"
    assert ada_server.wait_for_answer(continued)["content"] == STRIPPED_TEXT
    assert len(provider.calls) == 1
    tokens = sql.rows("SELECT status, prompt_tokens, completion_tokens FROM llm_calls ORDER BY status")
    assert [tuple(row.values()) for row in tokens] == [("cancelled", 0, 0), ("ok", 12, 100)]


async def test_concurrent_users_never_get_cached_answers_of_each_other(
    url: str, make_user: Callable[[str], User], redis: Redis, provider: Provider
) -> None:
    rng = random.Random(3)  # noqa: S311 - not a secret
    users = [make_user(f"user{number}") for number in range(4)]
    canaries = itertools.count()
    owners: dict[str, User] = {}
    cancelled = 0

    async def answer_with_number(call: Call, wire: Wire) -> None:
        await answers(f"canary {next(canaries)}. " * 30, first_after=rng.choice((0, 0.005)))(call, wire)

    provider.always(answer_with_number)
    async with httpx.AsyncClient(base_url=f"{url}{CHAT}", timeout=120, trust_env=False) as client:

        async def ask(number: int) -> None:
            nonlocal cancelled
            user = rng.choice(users)
            task = asyncio.ensure_future(
                client.post(
                    rng.choice(("/direct", "/direct/stream")),
                    json={"message": f"question {number % 5}"},
                    headers=user.headers,
                )
            )
            if rng.random() < 0.4:
                await asyncio.wait({task}, timeout=rng.choice((0.002, 0.01, 0.05)))
                task.cancel()
            await asyncio.wait({task})
            if task.cancelled():
                cancelled += 1
            else:
                # All users ask the same questions; each answer contains a number that only one user may see.
                (canary,) = set(re.findall(r"canary \d+", task.result().text))
                assert owners.setdefault(canary, user) == user

        await asyncio.gather(*(ask(number) for number in range(300)))
    assert len(owners) >= len(users)
    # One call per user and question, and another when all requests that waited for it were cancelled.
    assert next(canaries) <= len(users) * 5 + cancelled
