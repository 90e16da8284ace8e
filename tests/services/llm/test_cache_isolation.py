"""Isolation of cached answers and shared calls between users."""

import asyncio
import logging
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from redis import Redis

from app.graph.ports.chat_model import Completion, ModelRequest, PublishText, StreamTimeouts, TurnOwner
from app.graph.ports.tool_calls import PublishToolCalls
from app.services.llm.caching_chat_model import CachingChatModel
from app.services.llm.response_cache import ResponseCache
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError
from tests.services.llm.streamed_requests import BOB, LONG_TIMEOUTS, REQUEST, TEXT, StreamedRequest, wait_for_waiters
from tests.support.fakes import FakeModel, completion, model_request
from tests.support.waiting import LONGEST_WAIT


async def test_users_do_not_share_calls_or_answers(cache: ResponseCache) -> None:
    inner = FakeModel(completion("For Ada."), completion("For Bob."), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    ada, bob = StreamedRequest(model), StreamedRequest(model, replace(REQUEST, owner=BOB))
    await wait_for_waiters(model, 2)
    inner.gate.set()
    assert not (await ada.task).is_cached
    assert not (await bob.task).is_cached
    assert {ada.text, bob.text} == {"For Ada.", "For Bob."}
    assert len(inner.calls) == 2


async def test_with_global_scope_users_share_calls_and_answers(breaker: RedisCircuitBreaker) -> None:
    inner = FakeModel(completion(TEXT), gate=asyncio.Event())
    model = CachingChatModel(inner, ResponseCache(breaker, seconds=60, scope="global"))
    ada, bob = StreamedRequest(model), StreamedRequest(model, replace(REQUEST, owner=BOB))
    await wait_for_waiters(model, 2)
    inner.gate.set()
    await asyncio.gather(ada.task, bob.task)
    assert ada.text == bob.text == TEXT
    assert len(inner.calls) == 1


class CanaryModel:
    """`ChatModel` that answers slowly, word by word, with a canary of the owner."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        return await self.stream(
            request, lambda _: None, timeouts=StreamTimeouts(max_seconds, max_seconds, max_seconds)
        )

    async def stream(
        self,
        request: ModelRequest,
        publish: PublishText,
        *,
        timeouts: StreamTimeouts,
        publish_reasoning: PublishText | None = None,
        publish_tool_calls: PublishToolCalls | None = None,
    ) -> Completion:
        text = ""
        async with asyncio.timeout(timeouts.total):
            for word in (canary(request.owner.user_uuid), request.messages[0]["content"]):
                await asyncio.sleep(self._rng.choice((0, 0, 0.001, 0.01)))
                publish(f"{word} ")
                text += f"{word} "
        return completion(text)


def canary(user: UUID) -> str:
    return f"canary-{user.hex}"


async def test_10000_cached_and_cancelled_requests_never_receive_another_users_answer(
    breaker: RedisCircuitBreaker,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("app.services.redis.redis_circuit_breaker._PROBE_INTERVAL", 0.01)
    caplog.set_level(logging.ERROR)
    rng = random.Random(2)  # noqa: S311 - not a secret
    cache = ResponseCache(breaker, seconds=60, scope="user")
    model = CachingChatModel(CanaryModel(rng), cache)
    users = [uuid4() for _ in range(20)]
    outcomes: Counter[str] = Counter()
    concurrency_limit = asyncio.Semaphore(200)

    async def ask() -> None:
        user, question = rng.choice(users), f"question {rng.randrange(10)}"
        request = model_request([{"role": "user", "content": question}], owner=TurnOwner(1, user, uuid4()))
        pieces: list[str] = []
        async with concurrency_limit:
            if rng.random() < 0.5:
                task = asyncio.ensure_future(model.stream(request, pieces.append, timeouts=LONG_TIMEOUTS))
            else:
                task = asyncio.ensure_future(model.complete(request, max_seconds=LONGEST_WAIT))
            if rng.random() < 0.05:
                redis.delete(cache.key(request))
            if rng.random() < 0.005:
                with suppress(RedisUnavailableError):
                    async with breaker.guard():
                        raise ConnectionError
            if rng.random() < 0.5:
                for _ in range(rng.randrange(8)):
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait({task})
        expected = f"{canary(user)} {question} "
        assert expected.startswith("".join(pieces))
        if task.cancelled():
            outcomes["cancelled"] += 1
            return
        answer = task.result()
        assert answer.text == expected
        outcomes["cached" if answer.is_cached else "called"] += 1

    await asyncio.gather(*(ask() for _ in range(10_000)))
    assert outcomes.total() == 10_000
    assert min(outcomes["cancelled"], outcomes["cached"]) > 1000, outcomes
    assert outcomes["called"] > 100, outcomes
    assert breaker.outages > 5
    # Not even one that was found out and kept away.
    assert caplog.messages == []
    await model.close()
    assert not model._calls
    for key in redis.scan_iter("answer:*"):
        user = UUID(str(key).split(":")[3])
        assert canary(user) in str(redis.get(key))
