"""Models that are suspended after failures, in runs of the compiled graph."""

from dataclasses import replace

from app.graph.ports.chat_model import ModelError
from tests.graph.graph_runs import BUSY, POLICY, GraphRun
from tests.support.fakes import completion


class FakeModelHealth:
    """`ModelHealth` with some models suspended for a number of seconds, which records the outcomes."""

    def __init__(self, **seconds_until_retry: float) -> None:
        self._seconds_until_retry = seconds_until_retry
        self.outcomes: list[tuple[str, str, float | None]] = []

    def allow_request(self, model: str) -> bool:
        return model not in self._seconds_until_retry

    def seconds_until_retry(self, model: str) -> float:
        return self._seconds_until_retry.get(model, 0)

    def record_success(self, model: str) -> None:
        self.outcomes.append((model, "succeeded", None))

    def record_failure(self, model: str, *, retry_after: float | None) -> None:
        self.outcomes.append((model, "failed", retry_after))


THREE_MODELS_POLICY = replace(POLICY, models=("a", "b", "c"))


async def test_a_suspended_model_is_skipped() -> None:
    run = await GraphRun(completion(), policy=THREE_MODELS_POLICY, health=FakeModelHealth(a=9, b=9)).run()
    assert [call.model for call in run.model.calls] == ["c"]
    assert run.state["metadata"]["fallback_model"] is True
    (attempt,) = run.context.attempts
    assert (attempt.is_fallback, attempt.fallback_reason) == (True, "model_suspended")


async def test_a_retry_of_the_fallback_model_keeps_the_fallback_reason() -> None:
    run = await GraphRun(BUSY, completion(), health=FakeModelHealth(primary=9)).run()
    attempts = [(attempt.model_requested, attempt.fallback_reason) for attempt in run.context.attempts]
    assert attempts == [("fallback", "model_suspended")] * 2


async def test_a_suspended_fallback_model_is_skipped() -> None:
    run = await GraphRun(BUSY, BUSY, completion(), policy=THREE_MODELS_POLICY, health=FakeModelHealth(b=9)).run()
    assert [call.model for call in run.model.calls] == ["a", "a", "c"]
    assert run.context.attempts[-1].fallback_reason == "model_busy"


async def test_if_all_models_are_suspended_the_one_available_first_is_called_once() -> None:
    run = await GraphRun(completion(), policy=THREE_MODELS_POLICY, health=FakeModelHealth(a=9, b=1, c=5)).run()
    assert [call.model for call in run.model.calls] == ["b"]
    run = await GraphRun(BUSY, policy=THREE_MODELS_POLICY, health=FakeModelHealth(a=9, b=1, c=5)).run()
    assert [call.model for call in run.model.calls] == ["b"]
    assert run.state["status"] == "error_handled"


async def test_a_model_suspended_by_its_failure_is_not_retried() -> None:
    class SuspendingModelHealth(FakeModelHealth):
        def record_failure(self, model: str, *, retry_after: float | None) -> None:
            self._seconds_until_retry[model] = 9

    run = await GraphRun(BUSY, completion(), health=SuspendingModelHealth()).run()
    assert [call.model for call in run.model.calls] == ["primary", "fallback"]
    assert run.context.attempts[-1].fallback_reason == "model_busy"


async def test_attempts_are_recorded_in_the_health_of_models() -> None:
    health = FakeModelHealth()
    request_error = ModelError("request_refused", retryable=False, is_model_fault=False)
    await GraphRun(BUSY, request_error, completion(), health=health).run()
    assert health.outcomes == [("primary", "failed", 0), ("fallback", "succeeded", None)]
    health.outcomes.clear()
    await GraphRun(replace(completion(), is_cached=True), health=health).run()
    assert health.outcomes == []
