"""The caching chat model, with a real Redis."""

import asyncio
import logging
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from app.config import Settings
from app.graph.ports.chat_model import Completion, ModelError, ModelRequest, PublishText, StreamTimeouts, TurnOwner
from app.graph.ports.messages import PromptMessage
from app.services.llm.caching_chat_model import CachingChatModel
from app.services.llm.response_cache import ResponseCache
from app.services.llm.single_flight import SingleFlightCall, publish_in_chunks
from app.services.redis.client import open_redis
from app.services.redis.keys import cache_index_of_session
from app.services.redis.purge import purge_index
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError
from tests.support.fakes import FakeModel, completion, model_request
from tests.support.waiting import LONGEST_WAIT, eventually

QUESTION: list[PromptMessage] = [{"role": "user", "content": "Hi"}]
ADA, BOB = TurnOwner(1, uuid4(), uuid4()), TurnOwner(2, uuid4(), uuid4())
ASKED = model_request(QUESTION, owner=ADA)
PATIENT = StreamTimeouts(first_token=LONGEST_WAIT, idle=LONGEST_WAIT, total=LONGEST_WAIT)
TEXT = "Many words that follow each other. " * 20


class Asker:
    """A request, and the text that has been published to it."""

    def __init__(
        self, model: CachingChatModel, request: ModelRequest = ASKED, timeouts: StreamTimeouts = PATIENT
    ) -> None:
        self.pieces: list[str] = []
        self.seen = asyncio.Event()
        self.asking = asyncio.create_task(model.stream(request, self._publish, timeouts=timeouts))

    def _publish(self, piece: str) -> None:
        self.pieces.append(piece)
        self.seen.set()

    @property
    def text(self) -> str:
        return "".join(self.pieces)


async def until_waiting(model: CachingChatModel, count: int) -> None:
    """Wait until this many requests wait for running calls."""
    await eventually(lambda: sum(len(call.owners) for call in model._calls.values()) == count)


@pytest.fixture
def cache(breaker: RedisCircuitBreaker) -> ResponseCache:
    return ResponseCache(breaker, seconds=60, scope="user")


async def test_a_repeated_request_is_answered_from_the_cache(cache: ResponseCache) -> None:
    inner = FakeModel(completion(TEXT))
    model = CachingChatModel(inner, cache)
    first = await model.complete(ASKED, max_seconds=LONGEST_WAIT)
    again = await model.complete(ASKED, max_seconds=LONGEST_WAIT)
    assert (first.is_cached, again) == (False, replace(first, is_cached=True))
    assert len(inner.calls) == 1


async def test_a_cached_answer_is_streamed_in_pieces(cache: ResponseCache) -> None:
    model = CachingChatModel(FakeModel(completion(TEXT)), cache)
    await model.complete(ASKED, max_seconds=LONGEST_WAIT)
    asker = Asker(model)
    answer = await asker.asking
    assert answer.is_cached
    assert asker.text == answer.text == TEXT
    assert len(asker.pieces) > 2
    # Words are not split.
    assert [word for piece in asker.pieces for word in piece.split()] == TEXT.split()


@given(st.text(max_size=2000) | st.text(" \nab", max_size=2000))
def test_the_chunks_of_a_text_join_to_the_text(text: str) -> None:
    pieces: list[str] = []
    asyncio.run(publish_in_chunks(text, pieces.append))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 200 for piece in pieces)


async def test_a_long_text_is_published_in_a_few_large_chunks() -> None:
    pieces: list[str] = []
    await publish_in_chunks("x" * 50_000 + TEXT * 70, pieces.append)
    assert "".join(pieces) == "x" * 50_000 + TEXT * 70
    assert len(pieces) < 50


async def test_concurrent_identical_requests_share_one_call_that_is_accounted_for_once(cache: ResponseCache) -> None:
    inner = FakeModel(completion(TEXT), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    askers = [Asker(model, replace(ASKED, owner=replace(ADA, session_uuid=uuid4()))) for _ in range(30)]
    whole = [asyncio.create_task(model.complete(ASKED, max_seconds=LONGEST_WAIT)) for _ in range(20)]
    await until_waiting(model, 50)
    inner.gate.set()
    answers = await asyncio.gather(*(asker.asking for asker in askers), *whole)
    assert len(inner.calls) == 1
    assert Counter(answer.is_cached for answer in answers) == {False: 1, True: 49}
    assert {answer.text for answer in answers} == {asker.text for asker in askers} == {TEXT}


async def test_a_joining_request_receives_earlier_and_later_text(cache: ResponseCache) -> None:
    inner = FakeModel(completion("One two three."), gate=asyncio.Event())
    inner.published_first = ["One ", "two "]
    model = CachingChatModel(inner, cache)
    first = Asker(model)
    await first.seen.wait()
    second = Asker(model)
    await second.seen.wait()
    assert second.pieces == ["One two "]
    inner.gate.set()
    await asyncio.gather(first.asking, second.asking)
    assert (first.pieces, second.pieces) == (["One ", "two ", "three."], ["One two ", "three."])


async def test_a_streamed_request_that_joins_an_unstreamed_call_receives_the_whole_text(cache: ResponseCache) -> None:
    inner = FakeModel(completion(TEXT), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    whole = asyncio.create_task(model.complete(ASKED, max_seconds=LONGEST_WAIT))
    await inner.was_called.wait()
    reader = Asker(model)
    await until_waiting(model, 2)
    inner.gate.set()
    assert (await reader.asking).text == (await whole).text == reader.text == TEXT
    assert len(inner.calls) == 1


async def test_the_call_continues_when_the_request_that_started_it_is_cancelled(cache: ResponseCache) -> None:
    inner = FakeModel(completion(TEXT), gate=asyncio.Event())
    inner.published_first = ["Many "]
    model = CachingChatModel(inner, cache)
    first = Asker(model)
    await first.seen.wait()
    others = [Asker(model) for _ in range(2)]
    await until_waiting(model, 3)
    first.asking.cancel()
    await asyncio.gather(first.asking, return_exceptions=True)
    inner.gate.set()
    answers = await asyncio.gather(*(other.asking for other in others))
    assert [other.text for other in others] == [TEXT, TEXT]
    assert sorted(answer.is_cached for answer in answers) == [
        False,
        True,
    ]  # one of the remaining requests accounts for the tokens
    assert len(inner.calls) == 1


class Interruptible(FakeModel):
    """Records its cancellation, after a delay."""

    was_cancelled = False

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        try:
            return await super().complete(request, max_seconds=max_seconds)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            self.was_cancelled = True
            raise


async def test_a_call_without_waiters_is_cancelled_and_the_next_request_starts_another(cache: ResponseCache) -> None:
    inner = Interruptible(None, completion(TEXT))
    model = CachingChatModel(inner, cache)
    askers = [Asker(model) for _ in range(3)]
    await inner.was_called.wait()
    await until_waiting(model, 3)
    for asker in askers:
        asker.asking.cancel()
    await asyncio.sleep(0)
    assert (await Asker(model).asking).text == TEXT
    assert inner.was_cancelled
    assert all(asker.asking.cancelled() for asker in askers)


async def test_a_failure_is_raised_in_all_waiters_and_not_cached(cache: ResponseCache) -> None:
    failure = ModelError("provider_rate_limited", retryable=True, retry_after=3)
    inner = FakeModel(failure, completion(TEXT), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    askers = [Asker(model) for _ in range(3)]
    await until_waiting(model, 3)
    inner.gate.set()
    faults = []
    for asker in askers:
        with pytest.raises(ModelError) as raised:
            await asker.asking
        assert (raised.value.code, raised.value.retryable, raised.value.retry_after) == (
            "provider_rate_limited",
            True,
            3,
        )
        faults.append(raised.value.is_model_fault)
    assert faults == [True, False, False]  # counts once against the model's health
    assert len(inner.calls) == 1
    assert (await Asker(model).asking).text == TEXT


async def test_an_unexpected_exception_is_raised_in_all_waiters(
    cache: ResponseCache, caplog: pytest.LogCaptureFixture
) -> None:
    model = CachingChatModel(FakeModel(ZeroDivisionError(), gate=(gate := asyncio.Event())), cache)
    askers = [Asker(model) for _ in range(3)]
    await until_waiting(model, 3)
    gate.set()
    for asker in askers:
        with pytest.raises(ZeroDivisionError):
            await asker.asking
    await model.close()
    assert caplog.messages == []


async def test_a_joining_request_has_its_own_first_token_timeout(cache: ResponseCache) -> None:
    inner = FakeModel(completion(TEXT), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    first = Asker(model)
    await inner.was_called.wait()
    hasty = Asker(model, timeouts=StreamTimeouts(first_token=0.1, idle=0.1, total=0.1))
    in_a_hurry = asyncio.create_task(model.complete(ASKED, max_seconds=0.1))
    for waiting in (hasty.asking, in_a_hurry):
        with pytest.raises(ModelError, match="provider_timeout"):
            await waiting
    inner.gate.set()
    assert (await first.asking).text == TEXT


async def test_a_joining_request_waits_up_to_its_total_timeout_after_the_first_text(cache: ResponseCache) -> None:
    inner = FakeModel(completion("One two."), gate=asyncio.Event())
    inner.published_first = ["One "]
    model = CachingChatModel(inner, cache)
    first = Asker(model)
    await first.seen.wait()
    patient, hasty = (
        Asker(model, timeouts=StreamTimeouts(0.05, LONGEST_WAIT, LONGEST_WAIT)),
        Asker(model, timeouts=StreamTimeouts(0.05, LONGEST_WAIT, 0.1)),
    )
    with pytest.raises(ModelError, match="provider_timeout"):
        await hasty.asking
    assert hasty.text == "One "
    inner.gate.set()
    assert (await patient.asking).text == "One two."


@pytest.mark.parametrize("streams", [True, False])
async def test_an_answer_that_arrives_as_one_waiter_times_out_reaches_the_others(*, streams: bool) -> None:
    loop = asyncio.get_running_loop()
    begins = loop.create_future()

    async def ask(show: PublishText) -> Completion:
        await begins
        if streams:
            show(TEXT)
        return completion(TEXT)

    async def then(_call: SingleFlightCall, _completion: Completion) -> None:
        pass

    call = SingleFlightCall(ask, then)
    first = asyncio.create_task(call.join(ADA, None))
    second = asyncio.create_task(call.join(ADA, None, replace(PATIENT, first_token=0.01)))
    await asyncio.sleep(0)
    # Both in the same iteration of the event loop, as when a socket is read at that time.
    time.sleep(0.02)  # noqa: ASYNC251 - so that the limit is over when the loop looks again
    loop.call_soon(begins.set_result, None)
    with pytest.raises(ModelError, match="provider_timeout"):
        await asyncio.wait_for(second, LONGEST_WAIT)
    assert (await asyncio.wait_for(first, LONGEST_WAIT)).text == TEXT


async def test_users_do_not_share_calls_or_answers(cache: ResponseCache) -> None:
    inner = FakeModel(completion("For Ada."), completion("For Bob."), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    ada, bob = Asker(model), Asker(model, replace(ASKED, owner=BOB))
    await until_waiting(model, 2)
    inner.gate.set()
    assert not (await ada.asking).is_cached
    assert not (await bob.asking).is_cached
    assert {ada.text, bob.text} == {"For Ada.", "For Bob."}
    assert len(inner.calls) == 2


async def test_with_global_scope_users_share_calls_and_answers(breaker: RedisCircuitBreaker) -> None:
    inner = FakeModel(completion(TEXT), gate=asyncio.Event())
    model = CachingChatModel(inner, ResponseCache(breaker, seconds=60, scope="global"))
    ada, bob = Asker(model), Asker(model, replace(ASKED, owner=BOB))
    await until_waiting(model, 2)
    inner.gate.set()
    await asyncio.gather(ada.asking, bob.asking)
    assert ada.text == bob.text == TEXT
    assert len(inner.calls) == 1


async def test_a_request_during_the_storing_of_an_answer_is_answered_from_the_cache(
    cache: ResponseCache, redis: Redis, breaker: RedisCircuitBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, may_store = cache.store, asyncio.Event()

    async def slow(key: str, owners: tuple[TurnOwner, ...], completion: Completion) -> None:
        await may_store.wait()
        await store(key, owners, completion)

    monkeypatch.setattr(cache, "store", slow)
    inner = FakeModel(completion("Secret."))
    model = CachingChatModel(inner, cache)
    await model.complete(ASKED, max_seconds=LONGEST_WAIT)  # does not wait for the storing
    other = uuid4()
    again = Asker(model, replace(ASKED, owner=replace(ADA, session_uuid=other)))
    await asyncio.sleep(0.1)
    assert not again.asking.done()
    may_store.set()
    assert (await again.asking).is_cached
    # The entry is in the index of this session, too.
    async with breaker.guard() as client:
        assert await purge_index(client, cache_index_of_session(other)) == 1
    assert not list(redis.scan_iter("answer:*"))


async def test_a_cached_answer_is_added_to_the_indexes_of_all_waiters(
    cache: ResponseCache, redis: Redis, breaker: RedisCircuitBreaker
) -> None:
    inner = FakeModel(completion("Secret."))
    model = CachingChatModel(inner, cache)
    await model.complete(ASKED, max_seconds=LONGEST_WAIT)
    await model.close()
    sessions = [uuid4() for _ in range(5)]
    askers = [Asker(model, replace(ASKED, owner=replace(ADA, session_uuid=session))) for session in sessions]
    assert all([(await asker.asking).is_cached for asker in askers])
    await model.close()
    assert len(inner.calls) == 1
    for session in sessions:
        assert redis.zcard(cache_index_of_session(session).entries) == 1
    async with breaker.guard() as client:
        assert await purge_index(client, cache_index_of_session(sessions[3])) == 1
    assert not list(redis.scan_iter("answer:*"))


async def test_an_answer_is_not_cached_when_its_session_is_deleted_meanwhile(
    cache: ResponseCache, redis: Redis, breaker: RedisCircuitBreaker
) -> None:
    inner = FakeModel(completion("Secret."), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    asker = Asker(model)
    await inner.was_called.wait()
    async with breaker.guard() as client:
        await purge_index(client, cache_index_of_session(ADA.session_uuid or uuid4()))
    inner.gate.set()
    await asker.asking
    await model.close()
    assert not list(redis.scan_iter("answer:*"))


async def test_without_redis_calls_are_still_shared_and_answered(settings: Settings) -> None:
    nowhere = open_redis(settings.model_copy(update={"REDIS_URL": "redis://127.0.0.1:9"}))
    breaker = RedisCircuitBreaker(nowhere, budget=0.3)
    inner = FakeModel(completion(TEXT), completion(TEXT))
    model = CachingChatModel(inner, ResponseCache(breaker, seconds=60, scope="user"))
    answers = await asyncio.gather(*(Asker(model).asking for _ in range(10)))
    assert sum(not answer.is_cached for answer in answers) == len(inner.calls) == 1
    assert not (await Asker(model).asking).is_cached
    await model.close()
    await breaker.close()
    await nowhere.aclose()


class Echo:
    """`ChatModel` that answers slowly, word by word, with a canary of the owner."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        return await self.stream(
            request, lambda _: None, timeouts=StreamTimeouts(max_seconds, max_seconds, max_seconds)
        )

    async def stream(self, request: ModelRequest, publish: PublishText, *, timeouts: StreamTimeouts) -> Completion:
        text = ""
        async with asyncio.timeout(timeouts.total):
            for word in (canary(request.owner.user_uuid), request.messages[0]["content"]):
                await asyncio.sleep(self._chance.choice((0, 0, 0.001, 0.01)))
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
    chance = random.Random(2)  # noqa: S311 - not a secret
    cache = ResponseCache(breaker, seconds=60, scope="user")
    model = CachingChatModel(Echo(chance), cache)
    users = [uuid4() for _ in range(20)]
    outcomes: Counter[str] = Counter()
    at_once = asyncio.Semaphore(200)

    async def ask() -> None:
        user, question = chance.choice(users), f"question {chance.randrange(10)}"
        request = model_request([{"role": "user", "content": question}], owner=TurnOwner(1, user, uuid4()))
        pieces: list[str] = []
        async with at_once:
            if chance.random() < 0.5:
                asked = asyncio.ensure_future(model.stream(request, pieces.append, timeouts=PATIENT))
            else:
                asked = asyncio.ensure_future(model.complete(request, max_seconds=LONGEST_WAIT))
            if chance.random() < 0.05:
                redis.delete(cache.key(request))
            if chance.random() < 0.005:
                with suppress(RedisUnavailableError):
                    async with breaker.guard():
                        raise ConnectionError
            if chance.random() < 0.5:
                for _ in range(chance.randrange(8)):
                    await asyncio.sleep(0)
                asked.cancel()
            await asyncio.wait({asked})
        expected = f"{canary(user)} {question} "
        assert expected.startswith("".join(pieces))
        if asked.cancelled():
            outcomes["cancelled"] += 1
            return
        answer = asked.result()
        assert answer.text == expected
        outcomes["cached" if answer.is_cached else "asked"] += 1

    await asyncio.gather(*(ask() for _ in range(10_000)))
    assert outcomes.total() == 10_000
    assert min(outcomes["cancelled"], outcomes["cached"]) > 1000, outcomes
    assert outcomes["asked"] > 100, outcomes
    assert breaker.outages > 5
    # Not even one that was found out and kept away.
    assert caplog.messages == []
    await model.close()
    assert not model._calls
    for key in redis.scan_iter("answer:*"):
        user = UUID(str(key).split(":")[3])
        assert canary(user) in str(redis.get(key))
