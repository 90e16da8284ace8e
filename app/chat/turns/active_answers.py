"""Answers under way in all sessions of a user, whichever processes generate them."""

from dataclasses import dataclass

from app.chat.schemas.active import ActiveAnswer, ActiveAnswers
from app.chat.turns.runner import LEASE, TurnRunner
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.turns import active_turns

_MAX_ANSWERS = 100


@dataclass(frozen=True, slots=True)
class ActiveAnswerService:
    """Reads the answers under way of a user. Orphaned ones, whose lease has expired, are not under way."""

    database: Database
    runner: TurnRunner

    async def list_all(self, user_id: int) -> ActiveAnswers:
        """Return the answers under way, the newest first."""
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            rows = await active_turns.list_of_user(
                connection, user_id=user_id, max_age=self.runner.max_turn_duration + LEASE, limit=_MAX_ANSWERS
            )
        return ActiveAnswers(answers=[ActiveAnswer.model_validate(row) for row in rows])
