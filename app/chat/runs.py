"""One run of the graph, and what it gave: the answer, and the attempts for the ledger."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from app.chat.live import LiveTurn
from app.database.connection import PATIENCE, Database
from app.database.repositories import turns
from app.database.repositories.ledger import LedgerEntry
from app.database.repositories.turns import Answer, SettledStatus
from app.graph.builder import ChatGraph
from app.graph.context import Attempt, ChatContext, PromptMessage
from app.graph.prompts import FALLBACK_RESPONSE
from app.graph.state import ChatState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the graph gave."""

    answer: Answer
    calls: list[LedgerEntry]


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """`ConversationHistory` over the message table, for one user."""

    database: Database
    user_id: int

    async def recent(self, session_id: UUID, *, before_seq: int, limit: int) -> list[PromptMessage]:
        """See `ConversationHistory`."""
        async with self.database.direct(max_seconds=PATIENCE) as connection:
            rows = await turns.recent_messages(
                connection, user_id=self.user_id, session_uuid=session_id, before_seq=before_seq, limit=limit
            )
        return [{"role": "assistant" if role == "assistant" else "user", "content": text} for role, text in rows]


async def run_graph(graph: ChatGraph, context: ChatContext, live: LiveTurn, state: ChatState) -> Outcome:
    """Run the graph for a turn that may be cut short meanwhile. Whatever happens there is an answer.

    When it returns, the whole of the answer has been published.
    """
    live.run = asyncio.ensure_future(graph.ainvoke(state, context=context))
    if live.stop_requested:
        live.interrupt()
    try:
        result = await live.run
    except asyncio.CancelledError:
        answer = (
            _cut_short(live, context, "cancelled")
            if live.stop_requested
            else _cut_short(live, context, "interrupted", code="shutting_down")
        )
    except Exception:
        logger.exception("the graph failed")
        answer = _cut_short(live, context, "failed", code="internal_error", polite_text=FALLBACK_RESPONSE)
    else:
        metadata = result["metadata"]
        answer = Answer(
            content=result["final_response"],
            status="complete" if result["status"] == "completed" else "failed",
            meta=metadata,
            tokens_used=_tokens_of_the_whole(metadata) or _tokens_of_a_part(context),
            processing_time_ms=metadata["processing_time_ms"],
        )
    # What nobody has streamed, and what the pipeline says by itself, is shown in one piece.
    if answer.content != live.text:
        live.publish(answer.content[len(live.text) :])
    return Outcome(answer, [_ledger_entry(number, call) for number, call in enumerate(context.attempts, 1)])


def _cut_short(
    live: LiveTurn, context: ChatContext, status: SettledStatus, *, code: str | None = None, polite_text: str = ""
) -> Answer:
    """Make an answer of what has been shown, or of a polite text, where the graph made none."""
    milliseconds = sum(attempt.latency_ms for attempt in context.attempts)
    meta: dict[str, Any] = {
        "attempts": len(context.attempts),
        "processing_time_ms": milliseconds,
        "timestamp": datetime.now(UTC).isoformat(),
    }
    if code is not None:
        meta |= {"error": code, "fallback": not live.text}
    return Answer(
        content=live.text or polite_text,
        status=status,
        meta=meta,
        tokens_used=_tokens_of_a_part(context),
        processing_time_ms=milliseconds,
    )


def _tokens_of_the_whole(metadata: dict[str, Any]) -> int:
    """Return what an answer took. The metadata of a cached one say what it took when it was made."""
    tokens: int = 0 if metadata.get("cached") else metadata.get("tokens_used", {}).get("total", 0)
    return tokens


def _tokens_of_a_part(context: ChatContext) -> int:
    return sum(sum(attempt.estimate) for attempt in context.attempts if attempt.estimate)


def _ledger_entry(number: int, attempt: Attempt) -> LedgerEntry:
    completion = attempt.completion
    if completion is not None:
        status: Literal["ok", "error", "cancelled"] = "ok"
    else:
        status = "error" if attempt.error_code else "cancelled"
    prompt_tokens, completion_tokens = attempt.estimate or (0, 0)
    if completion is not None and not completion.is_cached:
        prompt_tokens, completion_tokens = completion.prompt_tokens, completion.completion_tokens
    return LedgerEntry(
        attempt=number,
        model_requested=attempt.model_requested,
        model_used=completion.model if completion else None,
        is_fallback=attempt.is_fallback,
        status=status,
        error_code=attempt.error_code,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        is_estimated=completion.is_estimated if completion else attempt.estimate is not None,
        latency_ms=attempt.latency_ms,
        first_token_ms=attempt.first_token_ms,
        is_cached=completion is not None and completion.is_cached,
    )
