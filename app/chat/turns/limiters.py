"""Limits of answers that clients wait for: event streams, and questions without event stream."""

from dataclasses import dataclass
from typing import Self

from app.config import Settings
from app.services.limits.concurrency import ConcurrencyLimiter


@dataclass(frozen=True, slots=True)
class OpenAnswerLimiters:
    """Limiters per account. Both together have a limit per process."""

    streams: ConcurrencyLimiter
    questions: ConcurrencyLimiter

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Return the limiters of a process."""

        def has_room() -> bool:
            return streams.total + questions.total < settings.OPEN_ANSWERS_PER_PROCESS

        streams = ConcurrencyLimiter(
            settings.STREAMS_PER_USER,
            code="too_many_streams",
            detail="Too many event streams are open.",
            retry_after=5,
            has_room=has_room,
        )
        questions = ConcurrencyLimiter(
            settings.QUESTIONS_PER_USER,
            code="too_many_questions",
            detail="Too many questions are being answered.",
            retry_after=5,
            has_room=has_room,
        )
        return cls(streams, questions)
