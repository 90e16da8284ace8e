"""Titles that a model writes in the background after the first complete answer, unless the user has set one."""

import asyncio
import logging
from dataclasses import dataclass, field

from app.chat.accounting.background_model import MAX_TASKS, BackgroundModel, NoCompletionError
from app.chat.titles.title_text import title_from_model
from app.chat.turns.graph_run import GraphResult
from app.core.background_tasks import stop_tasks
from app.core.exceptions import AppError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import session_titles
from app.database.repositories.turns.turns import StartedTurn, Turn
from app.database.retry_until_available import retry_until_available
from app.graph.ports.chat_model import TurnOwner
from app.graph.prompts import title_prompt

logger = logging.getLogger(__name__)

_MAX_MESSAGES = 10
"""Number of messages of a session, of all branches, up to which a title is written."""
_FIRST_TURN_MESSAGES = 2
"""Number of messages of a session after its first turn."""


@dataclass(slots=True)
class TitleGenerator:
    """Names sessions that have turns in this process, with one request for each session.

    If the model gives no usable title, the question's remains.
    """

    model: BackgroundModel
    database: Database
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def after(self, turn: Turn, owner: TurnOwner, result: GraphResult, *, has_quota: bool) -> None:
        """Write a title in the background, if the turn gave the first answer of a session that has none of its user.

        With `has_quota`, its cost is reserved from the owner's quota. While `MAX_TASKS` titles are being written, the
        session keeps the question's title.
        """
        started = turn.started
        # The history is also empty where it was not loaded: see `_may_request`.
        is_first_answer = turn.session.message_count <= _MAX_MESSAGES and not any(
            message["role"] == "assistant" for message in result.history.messages
        )
        is_untitled = started.title_source in {"default", "question"}
        if turn.answer.status == "complete" and is_first_answer and is_untitled:
            if len(self._tasks) >= MAX_TASKS:
                logger.warning("title failed", extra={"code": "overloaded"})
                return
            task = asyncio.create_task(self._generate(turn, owner, has_quota=has_quota))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self, grace: float) -> None:
        """Wait `grace` seconds for running tasks, then cancel the rest: their sessions keep the question's title."""
        await stop_tasks(self._tasks, grace=grace)

    async def _generate(self, turn: Turn, owner: TurnOwner, *, has_quota: bool) -> None:
        session_id = turn.started.session_id
        try:
            if not await self._may_request(turn, owner.user_id):
                return
            prompt = title_prompt(turn.question)
            completion = await self.model.complete(prompt, owner, session_id=session_id, has_quota=has_quota)
            # A title that the limit of tokens has cut off is no title.
            title = None if completion.finish_reason == "length" else title_from_model(completion.text)
            if title is not None:
                await retry_until_available(lambda: self._store(owner.user_id, turn.started, title))
        except (NoCompletionError, AppError) as error:
            logger.warning("title failed", extra={"code": getattr(error, "code", "no_completion")})
        except Exception:
            logger.exception("title failed")

    async def _may_request(self, turn: Turn, user_id: int) -> bool:
        """Return whether no title has been requested for the session.

        The history does not say so for another answer to the first question, another first question, a conversation
        that the client sent, and settings without history.
        """
        if turn.session.message_count <= _FIRST_TURN_MESSAGES:
            return True
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return not await session_titles.is_requested(
                connection, user_id=user_id, session_id=turn.started.session_id
            )

    async def _store(self, user_id: int, started: StartedTurn, title: str) -> None:
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
            await session_titles.store(
                transaction,
                user_id=user_id,
                session_uuid=started.session_uuid,
                question_uuid=started.question_uuid,
                title=title,
            )
