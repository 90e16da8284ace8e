"""Concurrent identical requests, which share one model call."""

import asyncio
import time
from collections import Counter
from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.graph.ports.chat_model import (
    Completion,
    ModelError,
    ModelRequest,
    ModelTokenCounts,
    PublishText,
    SharedCallLeftError,
    StreamTimeouts,
)
from app.services.llm.caching_chat_model import CachingChatModel
from app.services.llm.response_cache import ResponseCache
from app.services.llm.single_flight import SingleFlightCall, publish_in_chunks
from tests.services.llm.streamed_requests import ADA, LONG_TIMEOUTS, REQUEST, TEXT, StreamedRequest, wait_for_waiters
from tests.support.fakes import FakeModel, completion
from tests.support.waiting import LONGEST_WAIT, eventually


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
    requests = [StreamedRequest(model, replace(REQUEST, owner=replace(ADA, session_uuid=uuid4()))) for _ in range(30)]
    complete_tasks = [asyncio.create_task(model.complete(REQUEST, max_seconds=LONGEST_WAIT)) for _ in range(20)]
    await wait_for_waiters(model, 50)
    inner.gate.set()
    answers = await asyncio.gather(*(request.task for request in requests), *complete_tasks)
    assert len(inner.calls) == 1
    assert Counter(answer.is_cached for answer in answers) == {False: 1, True: 49}
    assert {answer.text for answer in answers} == {request.text for request in requests} == {TEXT}


async def test_a_joining_request_receives_earlier_and_later_text(cache: ResponseCache) -> None:
    inner = FakeModel(completion("One two three."), gate=asyncio.Event())
    inner.published_first = ["One ", "two "]
    model = CachingChatModel(inner, cache)
    first = StreamedRequest(model)
    await first.published.wait()
    second = StreamedRequest(model)
    await second.published.wait()
    assert second.pieces == ["One two "]
    inner.gate.set()
    await asyncio.gather(first.task, second.task)
    assert (first.pieces, second.pieces) == (["One ", "two ", "three."], ["One two ", "three."])


async def test_a_streamed_request_that_joins_an_unstreamed_call_receives_the_whole_text(cache: ResponseCache) -> None:
    inner = FakeModel(completion(TEXT), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    complete_task = asyncio.create_task(model.complete(REQUEST, max_seconds=LONGEST_WAIT))
    await inner.was_called.wait()
    reader = StreamedRequest(model)
    await wait_for_waiters(model, 2)
    inner.gate.set()
    assert (await reader.task).text == (await complete_task).text == reader.text == TEXT
    assert len(inner.calls) == 1


async def test_the_call_continues_when_the_request_that_started_it_is_cancelled(cache: ResponseCache) -> None:
    inner = FakeModel(completion(TEXT), gate=asyncio.Event())
    inner.published_first = ["Many "]
    model = CachingChatModel(inner, cache)
    first = StreamedRequest(model)
    await first.published.wait()
    others = [StreamedRequest(model) for _ in range(2)]
    await wait_for_waiters(model, 3)
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    inner.gate.set()
    answers = await asyncio.gather(*(other.task for other in others))
    assert [other.text for other in others] == [TEXT, TEXT]
    assert sorted(answer.is_cached for answer in answers) == [
        False,
        True,
    ]  # one of the remaining requests accounts for the tokens
    assert len(inner.calls) == 1


class CancellableModel(FakeModel):
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
    inner = CancellableModel(None, completion(TEXT))
    model = CachingChatModel(inner, cache)
    requests = [StreamedRequest(model) for _ in range(3)]
    await inner.was_called.wait()
    await wait_for_waiters(model, 3)
    for request in requests:
        request.task.cancel()
    await asyncio.sleep(0)
    assert (await StreamedRequest(model).task).text == TEXT
    assert inner.was_cancelled
    assert all(request.task.cancelled() for request in requests)


async def test_a_failure_is_raised_in_all_waiters_and_not_cached(cache: ResponseCache) -> None:
    failure = ModelError("provider_rate_limited", retryable=True, retry_after=3)
    inner = FakeModel(failure, completion(TEXT), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    requests = [StreamedRequest(model) for _ in range(3)]
    await wait_for_waiters(model, 3)
    inner.gate.set()
    faults = []
    for request in requests:
        with pytest.raises(ModelError) as raised:
            await request.task
        assert (raised.value.code, raised.value.retryable, raised.value.retry_after) == (
            "provider_rate_limited",
            True,
            3,
        )
        faults.append(raised.value.is_model_fault)
    assert faults == [True, False, False]  # counts once against the model's health
    assert len(inner.calls) == 1
    assert (await StreamedRequest(model).task).text == TEXT


async def test_one_of_the_requests_that_leave_a_call_accounts_for_its_tokens(cache: ResponseCache) -> None:
    inner = FakeModel(None, gate=asyncio.Event())
    inner.published_first = ["Many "]
    model = CachingChatModel(inner, cache)
    requests = [StreamedRequest(model) for _ in range(2)]
    late = StreamedRequest(model, timeouts=StreamTimeouts(first_token=0.05, idle=0.05, total=0.05))
    with pytest.raises(ModelError) as raised:
        await late.task
    assert raised.value.token_counts == ModelTokenCounts()
    left: list[bool] = []

    async def wait(request: StreamedRequest) -> None:
        try:
            await request.task
        except asyncio.CancelledError as error:
            left.append(isinstance(error, SharedCallLeftError))

    for request in requests:
        request.task.cancel()
    await asyncio.gather(*map(wait, requests))
    assert sorted(left) == [False, True]


async def test_one_of_the_requests_whose_call_fails_accounts_for_its_tokens(cache: ResponseCache) -> None:
    tokens = ModelTokenCounts(7, 3)
    failure = ModelError("stream_ended", retryable=True, may_have_used_tokens=True, token_counts=tokens)
    inner = FakeModel(failure, gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    requests = [StreamedRequest(model) for _ in range(3)]
    await wait_for_waiters(model, 3)
    inner.gate.set()
    errors = await asyncio.gather(*(request.task for request in requests), return_exceptions=True)
    counts = [error.token_counts for error in errors if isinstance(error, ModelError)]
    assert counts == [tokens, ModelTokenCounts(), ModelTokenCounts()]


async def test_an_unexpected_exception_is_raised_in_all_waiters(
    cache: ResponseCache, caplog: pytest.LogCaptureFixture
) -> None:
    model = CachingChatModel(FakeModel(ZeroDivisionError(), gate=(gate := asyncio.Event())), cache)
    requests = [StreamedRequest(model) for _ in range(3)]
    await wait_for_waiters(model, 3)
    gate.set()
    for request in requests:
        with pytest.raises(ZeroDivisionError):
            await request.task
    await model.close()
    assert caplog.messages == []


async def test_a_joining_request_has_its_own_first_token_timeout(cache: ResponseCache) -> None:
    inner = FakeModel(completion(TEXT), gate=asyncio.Event())
    model = CachingChatModel(inner, cache)
    first = StreamedRequest(model)
    await inner.was_called.wait()
    short_timeout_request = StreamedRequest(model, timeouts=StreamTimeouts(first_token=0.1, idle=0.1, total=0.1))
    short_timeout_task = asyncio.create_task(model.complete(REQUEST, max_seconds=0.1))
    for waiting in (short_timeout_request.task, short_timeout_task):
        with pytest.raises(ModelError, match="provider_timeout"):
            await waiting
    inner.gate.set()
    assert (await first.task).text == TEXT


async def test_a_joining_request_waits_up_to_its_total_timeout_after_the_first_text(cache: ResponseCache) -> None:
    inner = FakeModel(completion("One two."), gate=asyncio.Event())
    inner.published_first = ["One "]
    model = CachingChatModel(inner, cache)
    first = StreamedRequest(model)
    await first.published.wait()
    long_timeout_request, short_timeout_request = (
        StreamedRequest(model, timeouts=StreamTimeouts(0.05, LONGEST_WAIT, LONGEST_WAIT)),
        StreamedRequest(model, timeouts=StreamTimeouts(0.05, LONGEST_WAIT, 0.1)),
    )
    with pytest.raises(ModelError, match="provider_timeout"):
        await short_timeout_request.task
    assert short_timeout_request.text == "One "
    inner.gate.set()
    assert (await long_timeout_request.task).text == "One two."


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_an_answer_that_arrives_as_one_waiter_times_out_reaches_the_others(*, is_streamed: bool) -> None:
    loop = asyncio.get_running_loop()
    started = loop.create_future()

    async def ask(publish: PublishText, _publish_reasoning: PublishText) -> Completion:
        await started
        if is_streamed:
            publish(TEXT)
        return completion(TEXT)

    call = SingleFlightCall(ask, _ignore)
    first = asyncio.create_task(call.join(ADA, None))
    second = asyncio.create_task(call.join(ADA, None, timeouts=replace(LONG_TIMEOUTS, first_token=0.01)))
    await asyncio.sleep(0)
    # Both in the same iteration of the event loop, as when a socket is read at that time.
    time.sleep(0.02)  # noqa: ASYNC251 - so that the limit is over when the loop looks again
    loop.call_soon(started.set_result, None)
    with pytest.raises(ModelError, match="provider_timeout"):
        await asyncio.wait_for(second, LONGEST_WAIT)
    assert (await asyncio.wait_for(first, LONGEST_WAIT)).text == TEXT


async def test_a_joining_request_receives_earlier_and_later_reasoning() -> None:
    pieces: asyncio.Queue[str] = asyncio.Queue()
    seen: list[list[str]] = [[], []]

    async def ask(_publish: PublishText, publish_reasoning: PublishText) -> Completion:
        while piece := await pieces.get():
            publish_reasoning(piece)
        return completion(TEXT)

    call = SingleFlightCall(ask, _ignore)
    first = asyncio.create_task(call.join(ADA, None, seen[0].append))
    await eventually(lambda: len(call.owners) == 1)
    for piece in ("One ", "two "):
        pieces.put_nowait(piece)
    await eventually(lambda: len(seen[0]) == 2)
    second = asyncio.create_task(call.join(ADA, None, seen[1].append, LONG_TIMEOUTS))
    await eventually(lambda: seen[1] == ["One two "])
    pieces.put_nowait("three")
    pieces.put_nowait("")
    assert {answer.text for answer in await asyncio.gather(first, second)} == {TEXT}
    assert seen == [["One ", "two ", "three"], ["One two ", "three"]]


@pytest.mark.parametrize("piece", ["think", ""], ids=["reasoning", "comment"])
async def test_a_joining_request_waits_while_the_model_is_thinking(piece: str) -> None:
    async def ask(_publish: PublishText, publish_reasoning: PublishText) -> Completion:
        for _number in range(10):
            publish_reasoning(piece)
            await asyncio.sleep(0.05)
        return completion(TEXT)

    call = SingleFlightCall(ask, _ignore)
    first = asyncio.create_task(call.join(ADA, None))
    thinking = StreamTimeouts(first_token=0.1, idle=LONGEST_WAIT, total=LONGEST_WAIT, reasoning=LONGEST_WAIT)
    patient = asyncio.create_task(call.join(ADA, None, timeouts=thinking))
    impatient = asyncio.create_task(call.join(ADA, None, timeouts=replace(thinking, reasoning=0.2)))
    with pytest.raises(ModelError, match="provider_timeout"):
        await impatient
    assert {answer.text for answer in await asyncio.gather(first, patient)} == {TEXT}


async def test_reasoning_does_not_extend_the_timeout_of_a_request_without_stream() -> None:
    async def ask(publish: PublishText, publish_reasoning: PublishText) -> Completion:
        publish_reasoning("Hm.")
        await asyncio.sleep(0.3)
        publish("One ")
        await asyncio.sleep(LONGEST_WAIT)
        return completion("One two.")

    call = SingleFlightCall(ask, _ignore)
    timeouts = StreamTimeouts(0.5, 0.5, 0.5)  # as of `CachingChatModel.complete`
    started = asyncio.get_running_loop().time()
    with pytest.raises(ModelError, match="provider_timeout"):
        await call.join(ADA, None, timeouts=timeouts)
    assert asyncio.get_running_loop().time() - started < 0.75


async def _ignore(_call: SingleFlightCall, _completion: Completion) -> None:
    pass
