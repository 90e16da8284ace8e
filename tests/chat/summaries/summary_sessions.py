"""Sessions whose model generates answers and summaries, and their stored summaries."""

import asyncio
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from app.chat.accounting.background_model import BackgroundModel
from app.chat.summaries.summarizer import SUMMARY_TOKENS_PER_STEP, Summarizer
from app.chat.turns.runner import TurnRunner
from app.chat.turns.store import TurnStore
from app.database.connection import Database
from app.database.repositories.turns.turns import Turn
from app.database.repositories.usage.quotas import Quota
from app.graph.builder import build_chat_graph
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import Completion, ModelRequest, PublishText, StreamTimeouts
from app.graph.ports.tool_calls import PublishToolCalls
from app.graph.prompts import summary_prompt
from app.services.limits.quotas import QuotaService, TurnBudget
from tests.chat.turns.runner_calls import make_question, run_turn
from tests.fixtures.database import Sql
from tests.support.fakes import INSTRUCTIONS, PRICES, completion, turn_recovery

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY = ModelPolicy(
    models=("primary",), retries_per_model=0, attempt_timeout=30, history_messages=4, instructions=INSTRUCTIONS
)
SUMMARY_INSTRUCTIONS = summary_prompt([])[0]


class SummarizingModel:
    """A `ChatModel` that answers questions, and generates summaries with `summarize`."""

    def __init__(self) -> None:
        self.answer_requests: list[ModelRequest] = []
        self.summary_requests: list[ModelRequest] = []
        self.summarize: Callable[[str], str] = lambda messages: f"- digest: {messages.replace(chr(10), ' / ')}"
        self.gate = asyncio.Event()
        self.gate.set()
        """While it is closed, summaries do not complete."""
        self.summary_requested = asyncio.Event()

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        if request.messages[0] != SUMMARY_INSTRUCTIONS:
            self.answer_requests.append(request)
            return completion(f"Answer {len(self.answer_requests)}.")
        self.summary_requests.append(request)
        self.summary_requested.set()
        await self.gate.wait()
        return completion(self.summarize(str(request.messages[-1]["content"])))

    async def stream(
        self,
        request: ModelRequest,
        publish: PublishText,
        *,
        timeouts: StreamTimeouts,
        publish_reasoning: PublishText | None = None,
        publish_tool_calls: PublishToolCalls | None = None,
    ) -> Completion:
        raise NotImplementedError


class Session:
    """One session in one process."""

    def __init__(
        self,
        database: Database,
        model: SummarizingModel,
        user_id: int,
        session: UUID,
        policy: ModelPolicy,
        *,
        summaries_enabled: bool = True,
    ) -> None:
        quotas = QuotaService(database, Quota())
        summary_model = BackgroundModel(model, database, policy, PRICES, quotas, "summary", SUMMARY_TOKENS_PER_STEP)
        self.summarizer = Summarizer(summary_model, database, policy, batch=4)
        self.runner = TurnRunner(
            graph=build_chat_graph(),
            model=model,
            database=database,
            policy=policy,
            store=TurnStore(database, turn_recovery(database), quotas),
            prices=PRICES,
            turn_timeout=60,
            summarizer=self.summarizer if summaries_enabled else None,
        )
        self.budget: TurnBudget | None = None
        """Reservation for each answer."""
        self._user_id, self._session = user_id, session

    async def ask(self, message: str, context: dict[str, Any] | None = None) -> Turn:
        return await run_turn(
            self.runner, make_question(self._user_id, self._session, message, context, budget=self.budget)
        )

    async def ask_questions(self, *numbers: int) -> list[Turn]:
        """Ask one question after the other, and wait for the summary after each."""
        turns = []
        for number in numbers:
            turns.append(await self.ask(f"Question {number}?"))
            await self.wait_for_summaries()
        return turns

    async def block_in_summary(self, model: SummarizingModel) -> Self:
        """Ask questions until the model generates a summary, which completes when its gate is opened."""
        model.gate.clear()
        for number in (1, 2, 3):
            await self.ask(f"Question {number}?")
        await model.summary_requested.wait()
        return self

    async def wait_for_summaries(self) -> None:
        while self.summarizer._tasks:
            await asyncio.wait(self.summarizer._tasks.values())


def stored_summary(sql: Sql) -> tuple[str | None, int, bool]:
    (row,) = sql.rows(
        "SELECT nullif(content, '') AS text, coalesce(depth, 0) AS upto,"
        " summary_lease_expires_at IS NOT NULL AS is_busy"
        " FROM chat_sessions AS session LEFT JOIN chat_summaries ON session_id = session.id ORDER BY depth DESC LIMIT 1"
    )
    return row["text"], row["upto"], row["is_busy"]


def summary_statuses(sql: Sql) -> list[str]:
    """Return the status of each summary attempt."""
    rows = sql.rows(
        "SELECT llm_calls.status FROM llm_calls JOIN chat_sessions ON chat_sessions.id = llm_calls.session_id"
        " WHERE purpose = 'summary' ORDER BY llm_calls.id"
    )
    return [row["status"] for row in rows]
