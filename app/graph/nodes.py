"""Nodes of the graph: functions of the state and the injected context that return state updates."""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from langgraph.runtime import Runtime

from app.core.exceptions import AppError
from app.graph.attempt_record import ModelAttempt
from app.graph.context import ChatContext
from app.graph.context_window import exceed_context_window, exceeds_context_window, fit_prompt, prompt_budget
from app.graph.model_selection import ModelChoice, choose_model
from app.graph.ports.chat_model import (
    Completion,
    ModelError,
    ModelRequest,
    ModelTokenCounts,
    SharedCallLeftError,
    StreamTimeouts,
)
from app.graph.ports.messages import ModelMessage, SessionHistory
from app.graph.prompts import client_prompt
from app.graph.retry_policy import attempt_timeout, plan_retry
from app.graph.state import ChatState, HistoryUse, TokenUsage
from app.graph.tokens import estimate_tokens
from app.graph.trimmed_text_stream import TrimmedTextStream, trim

logger = logging.getLogger(__name__)


async def preprocess_node(state: ChatState, runtime: Runtime[ChatContext]) -> dict[str, Any]:
    """Validate the question, load the history of its session, and build the instructions."""
    message = state["user_message"].strip()
    context = runtime.context
    instructions = context.policy.instructions(state.get("context", {}))
    if (client_messages := state.get("client_messages")) is not None:
        is_too_long = exceed_context_window(client_prompt(instructions, client_messages), context.policy)
    elif not message:
        return {"error": "empty_message", "status": "error"}
    else:
        is_too_long = exceeds_context_window(message, instructions, context.policy)
    if is_too_long:
        return {"error": "message_too_long", "status": "error"}
    history = SessionHistory()
    if client_messages is None and (session_id := state.get("session_id")):
        try:
            history = await context.conversation_history.load(
                UUID(session_id), before_depth=state["question_depth"], limit=context.policy.history_messages
            )
        except AppError as error:
            return {"error": error.code, "status": "error"}
    return {
        "processed_message": message,
        "conversation_history": history.messages,
        "summary": history.summary,
        "system_prompt": instructions,
        "model_index": 0,
        "model_attempts": 0,
        "retry_count": 0,
        "max_retries": context.policy.max_retries,
        "status": "preprocessed",
    }


async def llm_node(state: ChatState, runtime: Runtime[ChatContext]) -> dict[str, Any]:
    """Make one attempt with one model. After a failure, the update plans the next attempt, if there is one."""
    context, started = runtime.context, time.perf_counter()
    try:
        update = await _attempt(state, context)
    finally:
        # Of a cancelled attempt or wait, too.
        context.durations_ms.append(_milliseconds_since(started))
    return update | {"processing_time_ms": context.processing_time_ms}


async def _attempt(state: ChatState, context: ChatContext) -> dict[str, Any]:
    delay = state.get("retry_delay", 0.0)
    if delay:
        await asyncio.sleep(delay)
    remaining = context.deadline - asyncio.get_running_loop().time()
    if remaining <= 0:
        return {"error": "turn_timeout", "status": "error"}

    choice = choose_model(state, context)
    model = context.policy.models[choice.index]
    prompt, history_use = _prompt(state, context, model)
    sampling = context.policy.sampling_of(model)
    request = ModelRequest(model, prompt, sampling, context.owner, options=context.policy.options)
    call_started = time.perf_counter()
    text_stream = TrimmedTextStream(context.sink) if context.sink else None

    def record(
        completion: Completion | None = None, error: ModelError | None = None, *, is_accounted_for: bool = False
    ) -> None:
        first_text_at = text_stream.first_text_at if text_stream else None
        context.attempts.append(
            ModelAttempt(
                model_requested=model,
                is_fallback=choice.index > 0,
                fallback_reason=choice.fallback_reason,
                backoff_ms=round(delay * 1000),
                latency_ms=_milliseconds_since(call_started),
                completion=completion,
                error_code=error.code if error else None,
                is_request_fault=error is not None and not (error.is_model_fault or error.retryable),
                first_token_ms=None if first_text_at is None else round((first_text_at - call_started) * 1000),
                token_counts=ModelTokenCounts()
                if is_accounted_for
                else _token_counts(completion, error, prompt, context.published_text),
            )
        )

    limit = attempt_timeout(choice, context.policy, remaining)
    try:
        if text_stream is None or context.sink is None:
            completion = await context.model.complete(request, max_seconds=limit)
        else:
            timeouts = StreamTimeouts(
                first_token=limit,
                idle=context.policy.stream_idle_timeout_of(model),
                total=limit + context.policy.stream_timeout,
                reasoning=context.policy.reasoning_timeout,
            )
            completion = await context.model.stream(
                request,
                text_stream.publish,
                timeouts=timeouts,
                publish_reasoning=context.sink.publish_reasoning,
                publish_tool_calls=text_stream.publish_tool_calls,
            )
    except ModelError as error:
        record(error=error)
        if error.is_model_fault:
            context.health.record_failure(model, retry_after=error.retry_after)
        update = plan_retry(state, context, choice, error)
    except asyncio.CancelledError as error:
        record(is_accounted_for=isinstance(error, SharedCallLeftError))
        raise
    else:
        record(completion)
        if not completion.is_cached:
            context.health.record_success(model)
        update = _completed(choice, completion)
    update["history_use"] = history_use
    update["tokens_used"] = _tokens_used(context)
    return update


async def postprocess_node(state: ChatState, runtime: Runtime[ChatContext]) -> dict[str, Any]:
    """Make the final answer and its metadata from the model's response."""
    metadata = _metadata(state, runtime.context) | {
        "model_used": state["model_used"],
        "finish_reason": state["finish_reason"],
        "fallback_model": state["model_index"] > 0,
        "cached": state["is_cached"],
    }
    if reasoning := state["reasoning"].strip():
        metadata["reasoning"] = reasoning
    for name in ("tool_calls", "logprobs"):
        if value := state.get(name):
            metadata[name] = value
    return {"final_response": trim(state["llm_response"]), "metadata": metadata, "status": "completed"}


async def error_handler_node(state: ChatState, runtime: Runtime[ChatContext]) -> dict[str, Any]:
    """Answer with the fallback response, or with the text published before the failure."""
    error = state.get("error") or "internal_error"
    attempts = runtime.context.attempts
    published = runtime.context.published_text
    logger.warning("turn failed", extra={"code": error, "attempts": len(attempts)})
    return {
        "final_response": published or runtime.context.fallback_response,
        "metadata": _metadata(state, runtime.context)
        | {
            "error": error,
            "fallback": not published,
            "request_rejected": bool(attempts) and attempts[-1].is_request_fault,
        },
        "error": error,
        "status": "error_handled",
    }


def _completed(choice: ModelChoice, completion: Completion) -> dict[str, Any]:
    return {
        "model_index": choice.index,
        "llm_response": completion.text,
        "reasoning": completion.reasoning,
        "tool_calls": [call.as_document() for call in completion.tool_calls],
        "logprobs": list(completion.logprobs),
        "finish_reason": completion.finish_reason,
        "model_used": completion.model,
        "is_cached": completion.is_cached,
        "status": "llm_completed",
    }


def _prompt(state: ChatState, context: ChatContext, model: str) -> tuple[Sequence[ModelMessage], HistoryUse]:
    if (client_messages := state.get("client_messages")) is not None:
        messages = client_prompt(state["system_prompt"], client_messages)
        return messages, {"sent": max(len(client_messages) - 1, 0), "left_out": 0, "summarized": 0}
    # For each attempt, because context windows differ between models.
    fitted = fit_prompt(
        SessionHistory(state["conversation_history"], state.get("summary")),
        instructions=state["system_prompt"],
        question=state["processed_message"],
        question_depth=state.get("question_depth", 1),
        budget=prompt_budget(context.policy, model),
    )
    return fitted.messages, {"sent": fitted.sent, "left_out": fitted.left_out, "summarized": fitted.summarized}


def _token_counts(
    completion: Completion | None, error: ModelError | None, prompt: Sequence[ModelMessage], published: str
) -> ModelTokenCounts:
    if completion is not None:
        return ModelTokenCounts() if completion.is_cached else completion.token_counts  # cached: accounted for already
    if error is not None and error.token_counts is not None:
        return error.token_counts
    # A cancelled attempt may have used tokens. The published text is this attempt's: there is none after it.
    if error is None or error.may_have_used_tokens or published:
        return estimate_tokens(prompt, published)
    return ModelTokenCounts()


def _tokens_used(context: ChatContext) -> TokenUsage:
    """Return the tokens of all attempts of this run, failed ones included."""
    prompt = sum(attempt.token_counts.prompt_tokens for attempt in context.attempts)
    completion = sum(attempt.token_counts.completion_tokens for attempt in context.attempts)
    return {"input": prompt, "output": completion, "total": prompt + completion}


def _metadata(state: ChatState, context: ChatContext) -> dict[str, Any]:
    history_use = state.get("history_use", {"sent": 0, "left_out": 0, "summarized": 0})
    metadata: dict[str, Any] = {
        "attempts": len(context.attempts),
        "tokens_used": _tokens_used(context),
        "history_messages": history_use["sent"],
        "processing_time_ms": context.processing_time_ms,
        "timestamp": datetime.now(UTC).isoformat(),
    }
    if history_use["left_out"]:
        metadata |= {"history_left_out": history_use["left_out"], "history_summarized": history_use["summarized"]}
    # Without the system prompt, which is long and the same for every answer.
    if client_context := {key: value for key, value in state.get("context", {}).items() if key != "system_prompt"}:
        metadata["context"] = client_context
    return metadata


def _milliseconds_since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
