"""One run of the graph, and what it gave: the answer, and the attempts for the ledger."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.chat.streaming.publisher import AnswerStream
from app.chat.turns.answer_metadata import answer_metadata, total_tokens
from app.chat.turns.cost import PriceFunction
from app.chat.turns.ledger_entries import ledger_entries
from app.database.repositories.chat.turns import Answer, FinalStatus
from app.database.repositories.usage.ledger import LedgerEntry
from app.graph.builder import ChatGraph
from app.graph.context import ChatContext
from app.graph.ports.messages import SessionHistory
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
        # The ledger entries have the last word, so that metadata, totals and costs agree.
        meta=ended.meta | answer_metadata(calls, model=context.policy.models[0]),
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
