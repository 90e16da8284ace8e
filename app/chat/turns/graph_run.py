"""One run of the graph, and what it gave: the answer, and the attempts for the ledger."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from app.chat.streaming.publisher import AnswerStream
from app.chat.turns.answer_metadata import PriceFunction, answer_metadata, cost_usd, total_tokens
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import history
from app.database.repositories.chat.history import StoredMessage
from app.database.repositories.chat.turns import Answer, FinalStatus
from app.database.repositories.usage.ledger import CallPurpose, LedgerEntry
from app.graph.builder import ChatGraph
from app.graph.context import ChatContext, HistoryMessage, ModelAttempt, SessionHistory, Summary
from app.graph.prompts import FALLBACK_RESPONSE
from app.graph.state import ChatState

logger = logging.getLogger(__name__)

_OUTPUT_KEYS = ("final_response", "status", "metadata", "conversation_history", "summary")
"""What is looked at when a run is over."""


@dataclass(frozen=True, slots=True)
class GraphResult:
    """What a run of the graph gave."""

    answer: Answer
    calls: list[LedgerEntry]
    history: SessionHistory
    """What was known of the session before, as far as the run came to that."""


@dataclass(frozen=True, slots=True)
class StoredConversationHistory:
    """`ConversationHistory` over the message table, for one user."""

    database: Database
    user_id: int
    with_summary: bool = True
    """Whether what the model noted of older messages is recalled too."""

    async def load(self, session_id: UUID, *, before_seq: int, limit: int) -> SessionHistory:
        """See `ConversationHistory`."""
        if limit == 0:
            return SessionHistory()
        async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            rows, summary = await history.load_history(
                connection,
                user_id=self.user_id,
                session_uuid=session_id,
                before_seq=before_seq,
                limit=limit,
                with_summary=self.with_summary,
            )
        return SessionHistory(
            [history_message(row) for row in rows],
            Summary(text=summary.text, upto_seq=summary.upto_seq) if summary else None,
        )


def history_message(row: StoredMessage) -> HistoryMessage:
    """Return a stored message as the graph sees it."""
    return {"seq": row.seq, "role": "assistant" if row.role == "assistant" else "user", "content": row.content}


async def run_graph(
    graph: ChatGraph, context: ChatContext, live: AnswerStream, state: ChatState, *, price: PriceFunction
) -> GraphResult:
    """Run the graph for a turn that may be cut short meanwhile. Whatever happens there is an answer.

    When it returns, the whole of the answer has been published.
    """
    history = SessionHistory()
    live.run = asyncio.ensure_future(graph.ainvoke(state, context=context, output_keys=_OUTPUT_KEYS))
    if live.stop_requested:
        live.interrupt()
    try:
        result = await live.run
    except asyncio.CancelledError:
        ended = (
            _interrupted_ending(live, context, "cancelled")
            if live.stop_requested
            else _interrupted_ending(live, context, "interrupted", code="shutting_down")
        )
    except Exception:
        logger.exception("the graph failed")
        ended = _interrupted_ending(live, context, "failed", code="internal_error", polite_text=FALLBACK_RESPONSE)
    else:
        history = SessionHistory(result.get("conversation_history", []), result.get("summary"))
        ended = _Ending(
            result["final_response"],
            "complete" if result["status"] == "completed" else "failed",
            result["metadata"],
        )
    # What nobody has streamed, and what the pipeline says by itself, is shown in one piece.
    if ended.text != live.text:
        live.publish(ended.text[len(live.text) :])
    calls = ledger_entries(context.attempts, price)
    answer = Answer(
        content=ended.text,
        status=ended.status,
        # What the graph says of a cached answer is what it took when it was made.
        meta=answer_metadata(calls, model=context.policy.models[0]) | ended.meta,
        tokens_used=total_tokens(calls),
        processing_time_ms=ended.meta["processing_time_ms"],
    )
    return GraphResult(answer, calls, history)


@dataclass(frozen=True, slots=True)
class _Ending:
    """An answer without its account."""

    text: str
    status: FinalStatus
    meta: dict[str, Any]


def _interrupted_ending(
    live: AnswerStream, context: ChatContext, status: FinalStatus, *, code: str | None = None, polite_text: str = ""
) -> _Ending:
    """Make an answer of what has been shown, or of a polite text, where the graph made none."""
    meta: dict[str, Any] = {
        "processing_time_ms": sum(attempt.latency_ms for attempt in context.attempts),
        "timestamp": datetime.now(UTC).isoformat(),
    }
    if code is not None:
        meta |= {"error": code, "fallback": not live.text}
    return _Ending(live.text or polite_text, status, meta)


def ledger_entries(
    attempts: Sequence[ModelAttempt], price: PriceFunction, *, purpose: CallPurpose = "answer"
) -> list[LedgerEntry]:
    """Return what the ledger is told of the attempts that were made for one text."""
    return [_ledger_entry(number, attempt, price, purpose) for number, attempt in enumerate(attempts, 1)]


def _ledger_entry(number: int, attempt: ModelAttempt, price: PriceFunction, purpose: CallPurpose) -> LedgerEntry:
    completion, token_counts = attempt.completion, attempt.token_counts
    status: Literal["ok", "error", "cancelled"] = "ok"
    if completion is None:
        status = "error" if attempt.error_code else "cancelled"
    model_used = completion.model if completion else None
    return LedgerEntry(
        attempt=number,
        model_requested=attempt.model_requested,
        model_used=model_used,
        is_fallback=attempt.is_fallback,
        status=status,
        error_code=attempt.error_code,
        prompt_tokens=token_counts.prompt_tokens,
        completion_tokens=token_counts.completion_tokens,
        is_estimated=token_counts.is_estimated,
        latency_ms=attempt.latency_ms,
        first_token_ms=attempt.first_token_ms,
        cost_usd=cost_usd(
            price,
            requested=attempt.model_requested,
            used=model_used,
            prompt_tokens=token_counts.prompt_tokens,
            completion_tokens=token_counts.completion_tokens,
        ),
        is_cached=completion is not None and completion.is_cached,
        purpose=purpose,
        fallback_reason=attempt.fallback_reason,
    )
