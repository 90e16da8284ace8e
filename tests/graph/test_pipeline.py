"""The compiled graph, edge by edge, with fakes for its ports."""

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest

from app.core.exceptions import DatabaseUnavailableError
from app.graph.builder import build_chat_graph
from app.graph.context import ChatContext
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import Completion, ModelError, ModelTokenCounts, TurnOwner
from app.graph.ports.messages import PromptMessage
from app.graph.ports.model_health import AlwaysHealthy, ModelHealth
from app.graph.ports.text_sink import TextSink
from app.graph.prompts import FALLBACK_RESPONSE, build_prompt
from app.graph.retry_policy import backoff
from tests.support.fakes import INSTRUCTIONS, FakeHistory, FakeModel, completion, conversation

if TYPE_CHECKING:
    from app.graph.state import ChatState

GRAPH = build_chat_graph()
BUSY = ModelError("model_busy", retryable=True, retry_after=0)
REFUSED = ModelError("model_refused", retryable=False)
SESSION = str(uuid4())
POLICY = ModelPolicy(
    models=("primary", "fallback"),
    retries_per_model=1,
    attempt_timeout=5,
    history_messages=4,
    instructions=INSTRUCTIONS,
)


class Run:
    """One run of the graph: the nodes it visited, and its final state."""

    def __init__(
        self,
        *outcomes: Completion | BaseException | None,
        history: FakeHistory | None = None,
        policy: ModelPolicy = POLICY,
        seconds: float = 10,
        health: ModelHealth | None = None,
        sink: TextSink | None = None,
    ) -> None:
        self.model = FakeModel(*outcomes)
        self.context = ChatContext(
            model=self.model,
            conversation_history=history or FakeHistory(),
            policy=policy,
            owner=TurnOwner(1, uuid4()),
            health=health or AlwaysHealthy(),
            sink=sink,
            deadline=asyncio.get_running_loop().time() + seconds,
        )
        self.nodes: list[str] = []
        self.state: dict[str, Any] = {}

    async def go(self, message: str = "Hi", **inputs: Any) -> "Run":  # noqa: ANN401 - fields of the state
        state = cast("ChatState", {"user_message": message, "user_id": 1, "status": "initialized", **inputs})
        async for updates in GRAPH.astream(state, context=self.context, stream_mode="updates"):
            for node, update in cast("dict[str, dict[str, Any]]", updates).items():
                self.nodes.append(node)
                self.state |= update
        return self


async def test_continue_and_success() -> None:
    run = await Run(completion(" Good day. ")).go()
    assert run.nodes == ["preprocess", "llm", "postprocess"]
    assert run.state["status"] == "completed"
    assert run.state["final_response"] == "Good day."
    metadata = run.state["metadata"]
    assert metadata["model_used"] == "primary-2026"
    assert metadata["tokens_used"] == {"input": 12, "output": 3, "total": 15}
    assert metadata["fallback_model"] is False
    assert "fallback" not in metadata
    assert metadata["attempts"] == 1


@pytest.mark.parametrize("message", ["", "  \n"])
async def test_error_after_preprocess_when_there_is_no_question(message: str) -> None:
    run = await Run().go(message)
    assert run.nodes == ["preprocess", "error_handler"]
    assert (run.state["status"], run.state["error"]) == ("error_handled", "empty_message")
    assert run.model.asked == []


async def test_error_after_preprocess_when_the_history_is_unavailable() -> None:
    run = await Run(history=FakeHistory(error=DatabaseUnavailableError())).go(session_id=SESSION, question_depth=1)
    assert run.nodes == ["preprocess", "error_handler"]
    assert run.state["error"] == "database_unavailable"
    assert run.state["metadata"]["fallback"] is True


async def test_retry_calls_the_same_model_again() -> None:
    run = await Run(BUSY, completion()).go()
    assert run.nodes == ["preprocess", "llm", "llm", "postprocess"]
    assert [asked.model for asked in run.model.asked] == ["primary", "primary"]
    assert run.state["metadata"]["attempts"] == 2
    assert run.state["retry_count"] == 1


async def test_retry_falls_back_to_the_next_model() -> None:
    run = await Run(BUSY, BUSY, completion(model="fallback-2026")).go()
    assert [asked.model for asked in run.model.asked] == ["primary", "primary", "fallback"]
    assert run.state["metadata"]["fallback_model"] is True
    assert [attempt.is_fallback for attempt in run.context.attempts] == [False, False, True]


async def test_attempts_record_their_fallback_reason() -> None:
    slow = ModelError("model_slow", retryable=True, retry_after=0.05)
    run = await Run(BUSY, slow, REFUSED, completion(), policy=replace(POLICY, models=("a", "b", "c"))).go()
    attempts = run.context.attempts
    assert [(attempt.model_requested, attempt.fallback_reason) for attempt in attempts] == [
        ("a", None), ("a", None), ("b", "model_slow"), ("c", "model_slow")
    ]  # fmt: skip
    run = await Run(slow, completion()).go()
    assert [attempt.backoff_ms for attempt in run.context.attempts] == [0, 50]


@pytest.mark.parametrize(("last", "tokens"), [(completion(), (112, 10)), (REFUSED, (100, 7))], ids=["answer", "none"])
async def test_tokens_used_are_those_of_all_attempts(last: Completion | ModelError, tokens: tuple[int, int]) -> None:
    blank = ModelError("empty_response", retryable=True, token_counts=ModelTokenCounts(100, 7))
    run = await Run(blank, last, policy=replace(POLICY, models=("primary",))).go()
    expected = {"input": tokens[0], "output": tokens[1], "total": sum(tokens)}
    assert run.state["tokens_used"] == run.state["metadata"]["tokens_used"] == expected


class Reader:
    """`TextSink` in memory."""

    text = ""

    def publish(self, piece: str) -> None:
        self.text += piece


async def test_there_is_no_retry_after_published_text() -> None:
    run = Run(BUSY, completion(), sink=Reader())
    run.model.said_first = ["Once upon"]
    await run.go()
    assert len(run.model.asked) == 1
    assert (run.state["status"], run.state["final_response"]) == ("error_handled", "Once upon")
    assert run.state["metadata"]["fallback"] is False


async def test_a_stream_without_published_text_is_retried() -> None:
    run = await Run(BUSY, BUSY, completion("Hello."), sink=Reader()).go()
    assert [asked.model for asked in run.model.asked] == ["primary", "primary", "fallback"]
    assert run.state["final_response"] == "Hello."


class Health:
    """`ModelHealth` with some models suspended for a number of seconds, which records the outcomes."""

    def __init__(self, **seconds_until_retry: float) -> None:
        self._due_in = seconds_until_retry
        self.told: list[tuple[str, str, float | None]] = []

    def allow_request(self, model: str) -> bool:
        return model not in self._due_in

    def seconds_until_retry(self, model: str) -> float:
        return self._due_in.get(model, 0)

    def record_success(self, model: str) -> None:
        self.told.append((model, "succeeded", None))

    def record_failure(self, model: str, *, retry_after: float | None) -> None:
        self.told.append((model, "failed", retry_after))


THREE = replace(POLICY, models=("a", "b", "c"))


async def test_a_suspended_model_is_skipped() -> None:
    run = await Run(completion(), policy=THREE, health=Health(a=9, b=9)).go()
    assert [asked.model for asked in run.model.asked] == ["c"]
    assert run.state["metadata"]["fallback_model"] is True
    (attempt,) = run.context.attempts
    assert (attempt.is_fallback, attempt.fallback_reason) == (True, "model_suspended")


async def test_a_retry_of_the_fallback_model_keeps_the_fallback_reason() -> None:
    run = await Run(BUSY, completion(), health=Health(primary=9)).go()
    attempts = [(attempt.model_requested, attempt.fallback_reason) for attempt in run.context.attempts]
    assert attempts == [("fallback", "model_suspended")] * 2


async def test_a_suspended_fallback_model_is_skipped() -> None:
    run = await Run(BUSY, BUSY, completion(), policy=THREE, health=Health(b=9)).go()
    assert [asked.model for asked in run.model.asked] == ["a", "a", "c"]
    assert run.context.attempts[-1].fallback_reason == "model_busy"


async def test_if_all_models_are_suspended_the_one_available_first_is_called_once() -> None:
    run = await Run(completion(), policy=THREE, health=Health(a=9, b=1, c=5)).go()
    assert [asked.model for asked in run.model.asked] == ["b"]
    run = await Run(BUSY, policy=THREE, health=Health(a=9, b=1, c=5)).go()
    assert [asked.model for asked in run.model.asked] == ["b"]
    assert run.state["status"] == "error_handled"


async def test_a_model_suspended_by_its_failure_is_not_retried() -> None:
    class Opening(Health):
        def record_failure(self, model: str, *, retry_after: float | None) -> None:
            self._due_in[model] = 9

    run = await Run(BUSY, completion(), health=Opening()).go()
    assert [asked.model for asked in run.model.asked] == ["primary", "fallback"]
    assert run.context.attempts[-1].fallback_reason == "model_busy"


async def test_attempts_are_recorded_in_the_health_of_models() -> None:
    health = Health()
    own_fault = ModelError("request_refused", retryable=False, is_model_fault=False)
    await Run(BUSY, own_fault, completion(), health=health).go()
    assert health.told == [("primary", "failed", 0), ("fallback", "succeeded", None)]
    health.told.clear()
    await Run(replace(completion(), is_cached=True), health=health).go()
    assert health.told == []


async def test_permanent_failures_are_not_retried() -> None:
    run = await Run(REFUSED, completion()).go()
    assert [asked.model for asked in run.model.asked] == ["primary", "fallback"]


async def test_error_when_every_model_failed() -> None:
    run = await Run(BUSY, BUSY, BUSY, BUSY).go()
    assert run.nodes == ["preprocess", "llm", "llm", "llm", "llm", "error_handler"]
    assert run.state["final_response"] == FALLBACK_RESPONSE
    assert run.state["metadata"]["fallback"] is True
    assert run.state["metadata"]["error"] == "model_busy"
    assert [attempt.error_code for attempt in run.context.attempts] == ["model_busy"] * 4
    assert run.state["retry_count"] <= run.state["max_retries"]


async def test_most_retries_that_the_settings_allow_end_in_the_error_node() -> None:
    run = await Run(*[BUSY] * 22, policy=replace(POLICY, retries_per_model=10)).go()
    assert len(run.model.asked) == 22
    assert run.nodes[-1] == "error_handler"


async def test_without_a_fallback_the_only_model_is_retried() -> None:
    run = await Run(BUSY, BUSY, policy=replace(POLICY, models=("only",))).go()
    assert [asked.model for asked in run.model.asked] == ["only", "only"]
    assert run.state["status"] == "error_handled"


async def test_a_long_retry_after_falls_back_to_the_next_model() -> None:
    started = time.monotonic()
    run = await Run(ModelError("rate_limited", retryable=True, retry_after=120), completion()).go()
    assert [asked.model for asked in run.model.asked] == ["primary", "fallback"]
    assert time.monotonic() - started < 30


async def test_retry_after_is_respected() -> None:
    started = time.monotonic()
    await Run(ModelError("rate_limited", retryable=True, retry_after=0.2), completion()).go()
    assert time.monotonic() - started >= 0.2


async def test_no_model_is_called_after_the_deadline() -> None:
    run = await Run(seconds=0).go()
    assert run.model.asked == []
    assert (run.state["status"], run.state["error"]) == ("error_handled", "turn_timeout")


async def test_the_timeout_of_an_attempt_ends_at_the_deadline_of_the_turn() -> None:
    run = await Run(completion(), policy=replace(POLICY, attempt_timeout=100), seconds=50).go()
    assert 20 < run.model.asked[0].max_seconds <= 50
    run = await Run(completion(), seconds=100).go()
    assert run.model.asked[0].max_seconds == 5


async def test_the_attempt_of_a_cancelled_run_is_recorded() -> None:
    run = Run(None)
    running = asyncio.create_task(run.go())
    await run.model.was_asked.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (attempt,) = run.context.attempts
    assert (attempt.completion, attempt.error_code) == (None, None)


async def test_the_model_gets_instructions_history_and_question_in_this_order() -> None:
    said = conversation("My name is Ada.", "Hello Ada.")
    run = await Run(completion(), history=FakeHistory(said)).go(
        " What is my name? ", session_id=SESSION, question_depth=3, context={"tone": "casual"}
    )
    assert run.model.asked[0].messages == [
        {"role": "system", "content": INSTRUCTIONS({"tone": "casual"})},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "What is my name?"},
    ]
    assert run.state["metadata"]["history_messages"] == 2
    assert run.state["metadata"]["context"] == {"tone": "casual"}


async def test_the_history_is_limited_by_the_policy() -> None:
    run = await Run(completion(), history=FakeHistory(conversation(*"0123456789"))).go(
        session_id=SESSION, question_depth=11
    )
    assert [message["content"] for message in run.model.asked[0].messages[1:-1]] == ["6", "7", "8", "9"]


def said(*texts: str) -> list[PromptMessage]:
    return [{"role": message["role"], "content": message["content"]} for message in conversation(*texts)]


def test_prompts_alternate_between_user_and_assistant() -> None:
    unanswered: list[PromptMessage] = [*said("0", "1", "2"), {"role": "user", "content": "3"}]
    assert build_prompt("Be brief.", unanswered, "4") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "0"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "2\n\n3\n\n4"},
    ]
    assert [message["role"] for message in build_prompt("Be brief.", said("0", "1")[1:], "2")] == ["system", "user"]


async def test_a_retry_leaves_time_for_an_attempt_of_the_next_model() -> None:
    hangs = ModelError("provider_timeout", retryable=True)
    run = await Run(hangs, hangs, completion(), seconds=1.5 * POLICY.attempt_timeout).go()
    limits = [(asked.model, asked.max_seconds) for asked in run.model.asked]
    assert [model for model, _ in limits] == ["primary", "primary", "fallback"]
    assert limits[0][1] == limits[2][1] == POLICY.attempt_timeout
    assert limits[1][1] < POLICY.attempt_timeout / 2


@pytest.mark.parametrize("tone", [None, 1, ["casual"], {"a": 1}], ids=repr)
def test_an_invalid_tone_is_ignored(tone: object) -> None:
    assert INSTRUCTIONS({"tone": tone}) == INSTRUCTIONS({})


async def test_there_is_no_retry_if_the_next_model_would_run_out_of_time() -> None:
    hangs = ModelError("provider_timeout", retryable=True)
    run = await Run(hangs, completion(), seconds=POLICY.attempt_timeout).go()
    assert [asked.model for asked in run.model.asked] == ["primary", "fallback"]


async def test_a_direct_question_has_no_history() -> None:
    run = await Run(completion(), history=FakeHistory(conversation("secret"))).go()
    assert [message["role"] for message in run.model.asked[0].messages] == ["system", "user"]


async def test_runs_share_nothing() -> None:
    runs = await asyncio.gather(*(Run(completion(str(number))).go(f"Hi {number}") for number in range(20)))
    assert [run.state["final_response"] for run in runs] == [str(number) for number in range(20)]


def test_tone_changes_the_instructions_and_an_unknown_one_does_not() -> None:
    plain, professional, casual = (INSTRUCTIONS(c) for c in ({}, {"tone": "professional"}, {"tone": "casual"}))
    assert len({plain, professional, casual}) == 3
    assert plain in professional
    assert plain in casual
    assert INSTRUCTIONS({"tone": "rude"}) == plain


def test_backoff_grows_and_is_random() -> None:
    for attempt, longest in ((1, 0.25), (2, 0.5), (3, 1.0), (10, 8.0)):
        pauses = [backoff(attempt) for _ in range(200)]
        assert 0 <= min(pauses) < longest * 0.2
        assert longest * 0.8 < max(pauses) <= longest
