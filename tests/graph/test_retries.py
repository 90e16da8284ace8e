"""Retries, fallback models and deadlines of the compiled graph."""

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.graph.ports.chat_model import Completion, ModelError, ModelTokenCounts
from app.graph.ports.tool_calls import ToolCallPiece
from app.graph.prompts import FALLBACK_RESPONSE
from app.graph.retry_policy import backoff
from tests.graph.graph_runs import BUSY, POLICY, REFUSED, GraphRun
from tests.support.fakes import completion


async def test_retry_calls_the_same_model_again() -> None:
    run = await GraphRun(BUSY, completion()).run()
    assert run.nodes == ["preprocess", "llm", "llm", "postprocess"]
    assert [call.model for call in run.model.calls] == ["primary", "primary"]
    assert run.state["metadata"]["attempts"] == 2
    assert run.state["retry_count"] == 1


async def test_retry_falls_back_to_the_next_model() -> None:
    run = await GraphRun(BUSY, BUSY, completion(model="fallback-2026")).run()
    assert [call.model for call in run.model.calls] == ["primary", "primary", "fallback"]
    assert run.state["metadata"]["fallback_model"] is True
    assert [attempt.is_fallback for attempt in run.context.attempts] == [False, False, True]


async def test_attempts_record_their_fallback_reason() -> None:
    slow = ModelError("model_slow", retryable=True, retry_after=0.05)
    run = await GraphRun(BUSY, slow, REFUSED, completion(), policy=replace(POLICY, models=("a", "b", "c"))).run()
    attempts = run.context.attempts
    assert [(attempt.model_requested, attempt.fallback_reason) for attempt in attempts] == [
        ("a", None), ("a", None), ("b", "model_slow"), ("c", "model_slow")
    ]  # fmt: skip
    run = await GraphRun(slow, completion()).run()
    assert [attempt.backoff_ms for attempt in run.context.attempts] == [0, 50]


@pytest.mark.parametrize(("last", "tokens"), [(completion(), (112, 10)), (REFUSED, (100, 7))], ids=["answer", "none"])
async def test_tokens_used_are_those_of_all_attempts(last: Completion | ModelError, tokens: tuple[int, int]) -> None:
    blank = ModelError("empty_response", retryable=True, token_counts=ModelTokenCounts(100, 7))
    run = await GraphRun(blank, last, policy=replace(POLICY, models=("primary",))).run()
    expected = {"input": tokens[0], "output": tokens[1], "total": sum(tokens)}
    assert run.state["tokens_used"] == run.state["metadata"]["tokens_used"] == expected


class MemoryTextSink:
    """`TextSink` in memory."""

    text = ""
    reasoning = ""

    def publish(self, piece: str) -> None:
        self.text += piece

    def publish_reasoning(self, piece: str) -> None:
        self.reasoning += piece

    has_tool_calls = False

    def publish_tool_calls(self, pieces: Sequence[ToolCallPiece]) -> None:
        self.has_tool_calls = True


async def test_there_is_no_retry_after_published_text() -> None:
    run = GraphRun(BUSY, completion(), sink=MemoryTextSink())
    run.model.published_first = ["Once upon"]
    await run.run()
    assert len(run.model.calls) == 1
    assert (run.state["status"], run.state["final_response"]) == ("error_handled", "Once upon")
    assert run.state["metadata"]["fallback"] is False


async def test_a_stream_without_published_text_is_retried() -> None:
    run = await GraphRun(BUSY, BUSY, completion("Hello."), sink=MemoryTextSink()).run()
    assert [call.model for call in run.model.calls] == ["primary", "primary", "fallback"]
    assert run.state["final_response"] == "Hello."


async def test_permanent_failures_are_not_retried() -> None:
    run = await GraphRun(REFUSED, completion()).run()
    assert [call.model for call in run.model.calls] == ["primary", "fallback"]


async def test_error_when_every_model_failed() -> None:
    run = await GraphRun(BUSY, BUSY, BUSY, BUSY).run()
    assert run.nodes == ["preprocess", "llm", "llm", "llm", "llm", "error_handler"]
    assert run.state["final_response"] == FALLBACK_RESPONSE
    assert run.state["metadata"]["fallback"] is True
    assert run.state["metadata"]["error"] == "model_busy"
    assert [attempt.error_code for attempt in run.context.attempts] == ["model_busy"] * 4
    assert run.state["retry_count"] <= run.state["max_retries"]


async def test_most_retries_that_the_settings_allow_end_in_the_error_node() -> None:
    run = await GraphRun(*[BUSY] * 22, policy=replace(POLICY, retries_per_model=10)).run()
    assert len(run.model.calls) == 22
    assert run.nodes[-1] == "error_handler"


async def test_without_a_fallback_the_only_model_is_retried() -> None:
    run = await GraphRun(BUSY, BUSY, policy=replace(POLICY, models=("only",))).run()
    assert [call.model for call in run.model.calls] == ["only", "only"]
    assert run.state["status"] == "error_handled"


async def test_a_long_retry_after_falls_back_to_the_next_model() -> None:
    started = time.monotonic()
    run = await GraphRun(ModelError("rate_limited", retryable=True, retry_after=120), completion()).run()
    assert [call.model for call in run.model.calls] == ["primary", "fallback"]
    assert time.monotonic() - started < 30


async def test_retry_after_is_respected() -> None:
    started = time.monotonic()
    await GraphRun(ModelError("rate_limited", retryable=True, retry_after=0.2), completion()).run()
    assert time.monotonic() - started >= 0.2


async def test_no_model_is_called_after_the_deadline() -> None:
    run = await GraphRun(seconds=0).run()
    assert run.model.calls == []
    assert (run.state["status"], run.state["error"]) == ("error_handled", "turn_timeout")


async def test_the_timeout_of_an_attempt_ends_at_the_deadline_of_the_turn() -> None:
    run = await GraphRun(completion(), policy=replace(POLICY, attempt_timeout=100), seconds=50).run()
    assert 20 < run.model.calls[0].max_seconds <= 50
    run = await GraphRun(completion(), seconds=100).run()
    assert run.model.calls[0].max_seconds == 5


async def test_a_retry_leaves_time_for_an_attempt_of_the_next_model() -> None:
    timeout_error = ModelError("provider_timeout", retryable=True)
    run = await GraphRun(timeout_error, timeout_error, completion(), seconds=1.5 * POLICY.attempt_timeout).run()
    limits = [(call.model, call.max_seconds) for call in run.model.calls]
    assert [model for model, _ in limits] == ["primary", "primary", "fallback"]
    assert limits[0][1] == limits[2][1] == POLICY.attempt_timeout
    assert limits[1][1] < POLICY.attempt_timeout / 2


async def test_there_is_no_retry_if_the_next_model_would_run_out_of_time() -> None:
    timeout_error = ModelError("provider_timeout", retryable=True)
    run = await GraphRun(timeout_error, completion(), seconds=POLICY.attempt_timeout).run()
    assert [call.model for call in run.model.calls] == ["primary", "fallback"]


def test_backoff_grows_and_is_random() -> None:
    for attempt, limit in ((1, 0.25), (2, 0.5), (3, 1.0), (10, 8.0)):
        pauses = [backoff(attempt) for _ in range(200)]
        assert 0 <= min(pauses) < limit * 0.2
        assert limit * 0.8 < max(pauses) <= limit
