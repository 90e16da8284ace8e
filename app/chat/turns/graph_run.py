"""One run of the graph, and the answer and ledger entries that result from it."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.chat.accounting.answer_metadata import answer_metadata, total_tokens
from app.chat.accounting.cost import PriceList
from app.chat.accounting.ledger_entries import ledger_entries
from app.chat.streaming.publisher import AnswerStream
from app.chat.turns.question import Question
from app.database.repositories.turns.turns import Answer, FinalStatus, StartedTurn
from app.database.repositories.usage.ledger import LedgerEntry
from app.graph.builder import ChatGraph
from app.graph.context import ChatContext
from app.graph.ports.messages import SessionHistory
from app.graph.state import ChatState

logger = logging.getLogger(__name__)

_OUTPUT_KEYS = ("final_response", "status", "metadata", "conversation_history", "summary")
"""Keys of the final state that are read."""


@dataclass(frozen=True, slots=True)
class GraphResult:
    """Result of a run of the graph."""

    answer: Answer
    calls: list[LedgerEntry]
    history: SessionHistory
    """Earlier messages and summary that the run loaded; empty if it did not load them."""


def initial_state(question: Question, started: StartedTurn | None) -> ChatState:
    """Return the state with which the graph begins. `started`: the stored question; None: it is a direct one."""
    state: ChatState = {
        "user_message": question.message,
        "user_id": question.user.id,
        "context": question.context,
        "status": "initialized",
    }
    if question.client_messages is not None:
        state["client_messages"] = list(question.client_messages)
    if started is not None:
        state["session_id"] = str(started.session_uuid)
        state["question_depth"] = started.question_depth
        state["context"] = started.session_meta | question.context
    return state


async def run_graph(
    graph: ChatGraph, context: ChatContext, stream: AnswerStream, state: ChatState, *, prices: PriceList
) -> GraphResult:
    """Run the graph for a turn. There always is an answer: a failed or cancelled run gives one with that status.

    When this returns, the whole answer has been published to `stream`, which may cancel the run.
    """
    history = SessionHistory()
    stream.run = asyncio.ensure_future(_final_state(graph, context, state))
    if stream.is_cancel_requested:
        stream.interrupt()
    try:
        result = await stream.run
    except asyncio.CancelledError:
        outcome = (
            _published_outcome(stream, context, "cancelled")
            if stream.is_cancel_requested
            else _published_outcome(stream, context, "interrupted", code="shutting_down")
        )
    except Exception:
        logger.exception("graph failed")
        outcome = _published_outcome(
            stream, context, "failed", code="internal_error", fallback=context.fallback_response
        )
    else:
        history = SessionHistory(result.get("conversation_history", []), result.get("summary"))
        outcome = _Outcome(
            result["final_response"],
            "complete" if result["status"] == "completed" else "failed",
            result["metadata"],
        )
    # Text that was not streamed: a plain answer, or a fallback message.
    if outcome.text != stream.text:
        stream.publish(outcome.text[len(stream.text) :])
    calls = ledger_entries(context.attempts, prices)
    answer = Answer(
        content=outcome.text,
        status=outcome.status,
        # The ledger entries take precedence, so that metadata, totals and cost agree.
        meta=outcome.meta | answer_metadata(calls, model=context.policy.models[0]),
        tokens_used=total_tokens(calls),
        processing_time_ms=outcome.meta["processing_time_ms"],
    )
    return GraphResult(answer, calls, history)


async def _final_state(graph: ChatGraph, context: ChatContext, state: ChatState) -> dict[str, Any]:
    # `ainvoke` would also collect the update of each node, of which nothing is read.
    final: dict[str, Any] = {}
    async for final in graph.astream(state, context=context, stream_mode="values", output_keys=_OUTPUT_KEYS):  # noqa: B007 - the last one is the result
        pass
    return final


@dataclass(frozen=True, slots=True)
class _Outcome:
    text: str
    status: FinalStatus
    meta: dict[str, Any]


def _published_outcome(
    stream: AnswerStream, context: ChatContext, status: FinalStatus, *, code: str | None = None, fallback: str = ""
) -> _Outcome:
    """Return the text published so far, or `fallback` if there is none, as the outcome of an unfinished run."""
    meta: dict[str, Any] = {
        "processing_time_ms": context.processing_time_ms,
        "timestamp": datetime.now(UTC).isoformat(),
    }
    if code is not None:
        meta |= {"error": code, "fallback": not stream.text}
    return _Outcome(stream.text or fallback, status, meta)
