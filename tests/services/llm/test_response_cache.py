"""The response cache, with a real Redis."""

import json
import time
from dataclasses import replace
from uuid import uuid4

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.config import Settings
from app.graph.ports.chat_model import Completion, ModelRequest, ModelTokenCounts, Sampling, TurnOwner
from app.graph.ports.messages import PromptMessage
from app.services.llm.response_cache import ResponseCache
from app.services.redis import purge
from app.services.redis.client import open_redis
from app.services.redis.keys import cache_index_of_session, cache_index_of_user
from app.services.redis.purge import purge_indexes
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from tests.support.fakes import completion, model_request

QUESTION: list[PromptMessage] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
ADA, BOB = TurnOwner(1, uuid4(), uuid4()), TurnOwner(2, uuid4(), uuid4())
PARAMETERS = Sampling(temperature=0.7, max_tokens=50)
REQUEST = model_request(QUESTION, owner=ADA, parameters=PARAMETERS)


@pytest.fixture
def shared_cache(breaker: RedisCircuitBreaker) -> ResponseCache:
    return ResponseCache(breaker, seconds=60, scope="global")


async def store_answer(cache: ResponseCache, request: ModelRequest, text: str = "Hello.") -> str:
    key = cache.key(request)
    await cache.store(key, [request.owner], completion(text))
    return key


async def read_answer(cache: ResponseCache, request: ModelRequest) -> str | None:
    answer = await cache.find(cache.key(request), request.owner)
    return None if answer is None else answer.text


def everything(redis: Redis) -> str:
    """Return all keys of Redis with their content."""
    held: list[object] = []
    for key in redis.scan_iter():
        kind = redis.type(key)
        held += [key, redis.get(key) if kind == b"string" else redis.zrange(key, 0, -1)]
    return repr(held)


async def test_a_stored_answer_is_found_unchanged_and_marked_as_cached(cache: ResponseCache) -> None:
    answer = replace(completion('Grüße 🌍 \u2028 \\ " \n'), is_cached=False)
    await cache.store(cache.key(REQUEST), [ADA], answer)
    assert await cache.find(cache.key(REQUEST), ADA) == replace(answer, is_cached=True)
    # Also in another session of the same user.
    assert await read_answer(cache, replace(REQUEST, owner=replace(ADA, session_uuid=uuid4()))) == answer.text
    assert await read_answer(cache, replace(REQUEST, owner=replace(ADA, session_uuid=None))) == answer.text


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(REQUEST, owner=BOB), id="user"),
        pytest.param(replace(REQUEST, model="secondary"), id="model"),
        pytest.param(replace(REQUEST, parameters=Sampling(temperature=0.7)), id="a parameter is missing"),
        pytest.param(replace(REQUEST, parameters=replace(PARAMETERS, temperature=0.8)), id="temperature"),
        pytest.param(replace(REQUEST, parameters=replace(PARAMETERS, top_p=0.7)), id="top_p"),
        pytest.param(replace(REQUEST, parameters=replace(PARAMETERS, frequency_penalty=0.7)), id="frequency_penalty"),
        pytest.param(replace(REQUEST, parameters=replace(PARAMETERS, presence_penalty=0.7)), id="presence_penalty"),
        pytest.param(replace(REQUEST, parameters=replace(PARAMETERS, max_tokens=51)), id="max_tokens"),
        pytest.param(replace(REQUEST, messages=[*QUESTION, *QUESTION]), id="more messages"),
        pytest.param(replace(REQUEST, messages=QUESTION[1:]), id="fewer messages"),
        pytest.param(replace(REQUEST, messages=QUESTION[::-1]), id="order"),
        pytest.param(replace(REQUEST, messages=[{**QUESTION[0], "role": "assistant"}, QUESTION[1]]), id="role"),
        pytest.param(replace(REQUEST, messages=[{**QUESTION[0], "content": "Be brief!"}, QUESTION[1]]), id="text"),
    ],
)
async def test_requests_that_differ_have_different_keys(cache: ResponseCache, other: ModelRequest) -> None:
    await store_answer(cache, REQUEST)
    assert await read_answer(cache, REQUEST) == "Hello."
    assert await read_answer(cache, other) is None


async def test_the_key_does_not_depend_on_the_order_of_fields(cache: ResponseCache) -> None:
    await store_answer(cache, REQUEST)
    reordered = [PromptMessage(content=message["content"], role=message["role"]) for message in QUESTION]
    assert await read_answer(cache, replace(REQUEST, messages=reordered)) == "Hello."


async def test_with_global_scope_all_users_share_answers(shared_cache: ResponseCache) -> None:
    await store_answer(shared_cache, REQUEST)
    assert await read_answer(shared_cache, replace(REQUEST, owner=BOB)) == "Hello."


async def test_scopes_are_separate(cache: ResponseCache, shared_cache: ResponseCache) -> None:
    await store_answer(cache, REQUEST)
    assert await read_answer(shared_cache, REQUEST) is None


async def test_an_entry_of_another_user_is_not_used(
    cache: ResponseCache, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    key_of_bob = await store_answer(cache, replace(REQUEST, owner=BOB), "The canary of Bob.")
    key_of_ada = await store_answer(cache, REQUEST)
    redis.copy(key_of_bob, key_of_ada, replace=True)  # as if Redis had mixed up replies
    assert await read_answer(cache, REQUEST) is None
    redis.copy(
        await store_answer(cache, replace(REQUEST, model="secondary")), key_of_ada, replace=True
    )  # of the same user
    assert await read_answer(cache, REQUEST) is None
    entry = json.loads(redis.get(key_of_bob) or b"")
    redis.set(key_of_ada, json.dumps({**entry, "key": key_of_ada}))
    assert await read_answer(cache, REQUEST) is None
    assert caplog.messages == ["cached answer mismatch"] * 3
    redis.set(key_of_ada, json.dumps({**entry, "key": key_of_ada, "user": str(ADA.user_uuid)}))
    assert await read_answer(cache, REQUEST) == "The canary of Bob."  # only these two prevented it


@pytest.mark.parametrize("value", [b"", b"no JSON", b"[]", b"{}", b"\xff", b'{"key": 1}'])
async def test_an_invalid_entry_is_ignored_and_replaced(cache: ResponseCache, redis: Redis, value: bytes) -> None:
    redis.set(cache.key(REQUEST), value)
    assert await read_answer(cache, REQUEST) is None
    await store_answer(cache, REQUEST)
    assert await read_answer(cache, REQUEST) == "Hello."


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(replace(completion(), finish_reason="length"), id="cut off"),
        pytest.param(replace(completion(), finish_reason="content_filter"), id="filtered"),
        pytest.param(
            replace(completion(), token_counts=ModelTokenCounts(12, 3, is_estimated=True)),
            id="its tokens were not counted",
        ),
        pytest.param(replace(completion(), is_cached=True), id="cached already"),
        pytest.param(completion("x" * 100_001), id="too long"),
        pytest.param(completion("What \ufffd said."), id="repaired"),
        pytest.param(replace(completion("What said."), is_repaired=True), id="repaired here"),
    ],
)
async def test_only_complete_answers_are_stored(cache: ResponseCache, redis: Redis, answer: Completion) -> None:
    await cache.store(cache.key(REQUEST), [ADA], answer)
    assert redis.dbsize() == 0


async def test_every_key_expires_and_an_index_not_before_its_entries(
    cache: ResponseCache, breaker: RedisCircuitBreaker, redis: Redis
) -> None:
    key = await store_answer(cache, REQUEST)
    assert 50_000 < redis.pttl(key) <= 60_000
    for index in (cache_index_of_user(ADA.user_uuid), cache_index_of_session(ADA.session_uuid or uuid4())):
        assert redis.pttl(index.entries) <= 60_000
        left = redis.pttl(index.entries)
        assert redis.pttl(key) <= left  # read after it, as time passes
    await store_answer(ResponseCache(breaker, seconds=600, scope="user"), replace(REQUEST, model="secondary"))
    await store_answer(cache, REQUEST)
    assert redis.pttl(cache_index_of_user(ADA.user_uuid).entries) > 590_000
    assert redis.pttl(key) <= 60_000


async def test_expired_entries_are_removed_from_an_index(breaker: RedisCircuitBreaker, redis: Redis) -> None:
    cache = ResponseCache(breaker, seconds=60, scope="user")
    first = await store_answer(cache, REQUEST)
    redis.zadd(cache_index_of_user(ADA.user_uuid).entries, {first: time.time() * 1000 - 1})
    second = await store_answer(cache, replace(REQUEST, model="secondary"))
    assert redis.zrange(cache_index_of_user(ADA.user_uuid).entries, 0, -1) == [second.encode()]


async def test_deleting_a_session_removes_its_text_and_no_other(
    cache: ResponseCache, breaker: RedisCircuitBreaker, redis: Redis
) -> None:
    key_of_ada, other = ADA.session_uuid or uuid4(), replace(ADA, session_uuid=uuid4())
    for number in range(3):
        await store_answer(cache, replace(REQUEST, model=f"m{number}"), f"Secret {number}.")
    await store_answer(cache, replace(REQUEST, owner=other, model="elsewhere"), "Of another session.")
    await store_answer(cache, replace(REQUEST, owner=other, model="given here too"), "Secret of both.")
    assert await read_answer(cache, replace(REQUEST, model="given here too")) == "Secret of both."
    assert await read_answer(cache, replace(REQUEST, owner=BOB)) is None
    async with breaker.guard() as client:
        assert await purge_indexes(client, cache_index_of_session(key_of_ada)) == 4
    assert "Secret" not in everything(redis)
    assert await read_answer(cache, replace(REQUEST, owner=other, model="elsewhere")) == "Of another session."


async def test_an_answer_is_not_stored_after_the_deletion(
    cache: ResponseCache, breaker: RedisCircuitBreaker, redis: Redis
) -> None:
    other = replace(ADA, session_uuid=uuid4())
    await store_answer(cache, replace(REQUEST, owner=other, model="known"), "Known.")
    async with breaker.guard() as client:
        assert await purge_indexes(client, cache_index_of_session(ADA.session_uuid or uuid4())) == 0
    await store_answer(cache, REQUEST, "Secret.")
    # Another owner who waited for the same answer.
    await cache.store(cache.key(REQUEST), [other, ADA], completion("Secret."))
    assert "Secret" not in everything(redis)
    # Nor is a cached answer returned, which would add its text to the index.
    assert await read_answer(cache, replace(REQUEST, model="known")) is None
    assert await read_answer(cache, replace(REQUEST, owner=other, model="known")) == "Known."


@pytest.mark.parametrize("scope", ["user", "global"])
async def test_erasing_an_account_removes_its_text(
    breaker: RedisCircuitBreaker, redis: Redis, settings: Settings, scope: str
) -> None:
    cache = ResponseCache(breaker, seconds=60, scope="global" if scope == "global" else "user")
    for number in range(3):
        owner = replace(ADA, session_uuid=uuid4() if number else None)
        await store_answer(cache, replace(REQUEST, owner=owner, model=f"m{number}"), f"Secret {number}.")
    await store_answer(cache, replace(REQUEST, owner=BOB, model="his"), "Of Bob.")
    client = open_redis(settings)
    erased = await purge.purge_user(client, user_uuid=ADA.user_uuid, answers=[])
    assert erased is not None
    assert erased.cached_answers == 3
    assert "Secret" not in everything(redis)
    await store_answer(cache, replace(REQUEST, owner=replace(ADA, session_uuid=uuid4())), "Secret.")
    assert "Secret" not in everything(redis)
    assert await read_answer(cache, replace(REQUEST, owner=BOB, model="his")) == "Of Bob."
    await client.aclose()


async def test_a_purge_removes_any_number_of_entries_and_can_be_repeated(
    cache: ResponseCache, breaker: RedisCircuitBreaker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "_BATCH", 7)
    index = cache_index_of_session(ADA.session_uuid or uuid4())
    for number in range(50):
        await store_answer(cache, replace(REQUEST, model=f"m{number}"))
    unlink = AsyncRedis.unlink

    async def cut_off(self: AsyncRedis, *names: bytes) -> int:
        removed = await unlink(self, *names)
        if redis.dbsize() < 30:
            raise ConnectionError
        return removed

    with monkeypatch.context() as patch:
        patch.setattr(AsyncRedis, "unlink", cut_off)
        async with breaker.guard() as client:
            with pytest.raises(ConnectionError):
                await purge_indexes(client, index)
    async with breaker.guard() as client:
        await purge_indexes(client, index)
    assert not list(redis.scan_iter("answer:*"))
    assert not redis.exists(index.entries)


async def test_without_redis_nothing_is_found_and_nothing_fails(settings: Settings) -> None:
    unreachable = open_redis(settings.model_copy(update={"REDIS_URL": "redis://127.0.0.1:9"}))
    breaker = RedisCircuitBreaker(unreachable, budget=0.3)
    cache = ResponseCache(breaker, seconds=60, scope="user")
    await store_answer(cache, REQUEST)
    assert await read_answer(cache, REQUEST) is None
    assert breaker.is_open
    await breaker.close()
    await unreachable.aclose()


async def test_scripts_are_loaded_again_when_redis_has_lost_them(cache: ResponseCache, redis: Redis) -> None:
    await store_answer(cache, REQUEST)
    redis.script_flush()
    redis.flushdb()
    assert await read_answer(cache, REQUEST) is None
    redis.script_flush()
    await store_answer(cache, REQUEST)
    assert await read_answer(cache, REQUEST) == "Hello."
