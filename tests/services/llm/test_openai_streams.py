"""Connections of streamed attempts: timeouts, reuse and concurrency."""

import asyncio
import time

import pytest

from app.config import Settings
from app.graph.ports.chat_model import StreamTimeouts
from app.services.llm import stream_deadline
from app.services.llm.openai import OpenAIChatModel
from tests.services.llm.openai_attempts import SETTINGS, open_model
from tests.services.llm.streamed_attempts import STOP, StreamedAttempt
from tests.support.provider import DONE, Behaviour, Provider, answers, chunk, stalls, streams
from tests.support.waiting import LONGEST_WAIT


async def test_a_piece_is_published_before_the_next_one_arrives(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(streams(chunk("Hello"), hold=True))
    attempt = StreamedAttempt(model)
    task = asyncio.ensure_future(attempt.run())
    await asyncio.to_thread(provider.wait_until, lambda: bool(attempt.pieces))
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (call,) = provider.calls
    await asyncio.to_thread(provider.wait_until, lambda: call.abandoned is not None)


async def test_a_connection_that_stays_open_after_the_end_does_not_delay_the_answer(
    provider: Provider, model: OpenAIChatModel
) -> None:
    provider.script(streams(chunk("Hello."), STOP, DONE, hold=True))
    started = time.monotonic()
    assert (await StreamedAttempt(model).run()).text == "Hello."
    assert time.monotonic() - started < 30


async def test_data_after_the_end_does_not_delay_the_answer(provider: Provider, model: OpenAIChatModel) -> None:
    provider.script(streams(chunk("Hello."), STOP, DONE, *[b": still here\n\n"] * 600, every=0.1))
    completion = await asyncio.wait_for(StreamedAttempt(model).run(), 30)
    assert completion.text == "Hello."


@pytest.mark.parametrize(
    ("behaviour", "timeouts"),
    [
        pytest.param(stalls(), StreamTimeouts(1, LONGEST_WAIT, LONGEST_WAIT), id="headers"),
        pytest.param(
            answers("a b c", stall_after=0), StreamTimeouts(1, LONGEST_WAIT, LONGEST_WAIT), id="before the first text"
        ),
        pytest.param(
            answers("a b c", stall_after=2), StreamTimeouts(LONGEST_WAIT, 1, LONGEST_WAIT), id="between two texts"
        ),
        pytest.param(
            answers("a b c d e f g h i j", every=0.3), StreamTimeouts(LONGEST_WAIT, LONGEST_WAIT, 1), id="all together"
        ),
        pytest.param(
            streams(chunk("a"), *[b"x"] * 100, every=0.05),
            StreamTimeouts(LONGEST_WAIT, 1, LONGEST_WAIT),
            id="bytes that never become a text",
        ),
        pytest.param(
            streams(chunk("a"), *[b":\n"] * 100, every=0.05),
            StreamTimeouts(LONGEST_WAIT, 1, 2),
            id="pings after the text",
        ),
        pytest.param(
            streams(*[b":\n"] * 100, every=0.05),
            StreamTimeouts(0.5, 1, LONGEST_WAIT, reasoning=2),
            id="pings before the text",
        ),
    ],
)
async def test_a_timeout_closes_the_connection(
    provider: Provider, model: OpenAIChatModel, behaviour: Behaviour, timeouts: StreamTimeouts
) -> None:
    provider.script(behaviour)
    started = time.monotonic()
    error = await StreamedAttempt(model).fail(timeouts)
    assert time.monotonic() - started < 30
    assert (error.code, error.retryable) == ("provider_timeout", True)
    (call,) = provider.calls
    await asyncio.to_thread(provider.wait_until, lambda: call.abandoned is not None)


async def test_the_idle_timeout_may_exceed_the_first_token_timeout(provider: Provider) -> None:
    settings = SETTINGS | {"OPENAI_BASE_URL": provider.base_url, "LLM_ATTEMPT_TIMEOUT": 0.2}
    model = open_model(Settings.model_validate(settings))
    provider.script(answers("a b", every=0.6))
    assert (await StreamedAttempt(model).run()).text == "a b"
    await model.close()


async def test_the_connection_is_reused_after_a_stream(
    provider: Provider, model: OpenAIChatModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_deadline, "_TRAILER_TIMEOUT", LONGEST_WAIT)
    for _ in range(3):
        await StreamedAttempt(model).run()
    assert len({call.connection for call in provider.calls}) == 1


async def test_200_concurrent_streams_do_not_wait_for_each_other(provider: Provider, model: OpenAIChatModel) -> None:
    provider.always(streams(chunk("Hello."), hold=True))
    attempts = [StreamedAttempt(model) for _ in range(200)]
    tasks = [asyncio.ensure_future(attempt.run()) for attempt in attempts]
    await asyncio.to_thread(provider.wait_until, lambda: all(attempt.text for attempt in attempts))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
