"""Answers under way."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from app.core.schema_types import ResponseModel


class ActiveAnswer(ResponseModel):
    """An answer that is being generated."""

    session_id: UUID = Field(description="Session of the answer.")
    message_id: UUID = Field(description="Id of the answer, to follow its event stream or to cancel it.")
    status: Literal["pending", "streaming"] = Field(description="`pending`: the answer is being generated.")
    started_at: datetime = Field(description="Time of the question, or of the request for another answer.")
    model: str | None = Field(description="Requested model.")


class ActiveAnswers(ResponseModel):
    """Answers under way in all sessions of the user, the newest first."""

    answers: list[ActiveAnswer] = Field(description="At most 100.")
