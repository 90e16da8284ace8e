"""The caching chat model, with a real Redis."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from redis import Redis

from app.config import Settings
from app.graph.ports.chat_model import Completion, TurnOwner
from app.services.llm.caching_chat_model import CachingChatModel
from app.services.llm.response_cache import ResponseCache
from app.services.redis.client import open_redis
from app.services.redis.keys import cache_index_of_session
from app.services.redis.purge import purge_indexes
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from tests.services.llm.streamed_requests import ADA, REQUEST, TEXT, StreamedRequest
from tests.support.fakes import FakeModel, completion
from tests.support.waiting import LONGEST_WAIT


async def test_a_repeated_request_is_answered_from_the_cache(cache: ResponseCache) -> None:
    inner = FakeModel(completion(TEXT))
    model = CachingChatModel(inner, cache)
    first = await model.complete(REQUEST, max_seconds=LONGEST_WAIT)
    again = await model.complete(REQUEST, max_seconds=LONGEST_WAIT)
    assert (first.is_cached, again) == (False, replace(first, is_cached=True))
    assert len(inner.calls) == 1


async def test_a_cached_answer_is_streamed_in_pieces(cache: ResponseCache) -> None:
    model = CachingChatModel(FakeModel(completion(TEXT)), cache)
    await model.complete(REQUEST, max_seconds=LONGEST_WAIT)
    request = StreamedRequest(model)
    answer = await request.task
    assert answer.is_cached
    assert request.text == answer.text == TEXT
    assert len(request.pieces) > 2
    # Words are not split.
    assert [word for piece in request.pieces for word in piece.split()] == TEXT.split()


async def test_a_request_during_the_storing_of_an_answer_is_answered_from_the_cache(
    cache: ResponseCache, redis: Redis, breaker: RedisCircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, store_allowed = cache.store, asyncio.Event()

    async def store_when_allowed(key: str, owners: tuple[TurnOwner, ...], completion: Completion) -> None:
        await store_allowed.wait()
        await store(key, owners, completion)

    monkeypatch.setattr(cache, "store", store_when_allowed)
    inner = FakeModel(completion("Secret."))
    model = CachingChatModel(inner, cache)
    await model.complete(REQUEST, max_seconds=LONGEST_WAIT)  # does not wait for the storing
    other = uuid4()
    again = StreamedRequest(model, replace(REQUEST, owner=replace(ADA, session_uuid=other)))
    await asyncio.sleep(0.1)
    assert not again.task.done()
    store_allowed.set()
    assert (await again.task).is_cached
    # The entry is in the index of this session, too.
    async with breaker.guard() as client:
        assert await purge_indexes(client, cache_index_of_session(other)) == 1
    assert not list(redis.scan_iter("answer:*"))


async def test_a_cached_answer_is_added_to_the_indexes_of_all_waiters(
    cache: ResponseCache, redis: Redis, breaker: RedisCircuitBreaker
) -> None:
    inner = FakeModel(completion("Secret."))
    model = CachingChatModel(inner, cache)
    await model.complete(REQUEST, max_seconds=LONGEST_WAIT)
    await model.close()
    sessions = [uuid4() for _ in range(5)]
    requests = [
        StreamedRequest(model, replace(REQUEST, owner=replace(ADA, session_uuid=session))) for session in sessions
    ]
    assert all([(await request.task).is_cached for request in requests])
    await model.close()
    assert len(inner.calls) == 1
    for session in sessions:
        assert redis.zcard(cache_index_of_session(session).entries) == 1
    async with breaker.guard() as client:
        assert await purge_indexes(client, cache_index_of_session(sessions[3])) == 1
    assert not list(redis.scan_iter("answer:*"))


async def test_an_answer_is_not_cached_when_its_session_is_deleted_during_the_call(
    cache: ResponseCache, redis: Redis, breaker: RedisCircuitBreaker
) -> None:
    inner = FakeModel(completion("Secret."), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    request = StreamedRequest(model)
    await inner.was_called.wait()
    async with breaker.guard() as client:
        await purge_indexes(client, cache_index_of_session(ADA.session_uuid or uuid4()))
    inner.gate.set()
    await request.task
    await model.close()
    assert not list(redis.scan_iter("answer:*"))


async def test_without_redis_calls_are_still_shared_and_answered(settings: Settings) -> None:
    unreachable = open_redis(settings.model_copy(update={"REDIS_URL": "redis://127.0.0.1:9"}))
    breaker = RedisCircuitBreaker(unreachable, budget=0.3)
    inner = FakeModel(completion(TEXT), completion(TEXT))
    model = CachingChatModel(inner, ResponseCache(breaker, seconds=60, scope="user"))
    answers = await asyncio.gather(*(StreamedRequest(model).task for _ in range(10)))
    assert sum(not answer.is_cached for answer in answers) == len(inner.calls) == 1
    assert not (await StreamedRequest(model).task).is_cached
    await model.close()
    await breaker.close()
    await unreachable.aclose()
