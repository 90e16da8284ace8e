"""Table of the usage ledger."""

from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Numeric, String, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class LlmCall(IdMixin, CreatedMixin, Base):
    """Attempt at a model call. Append-only and without foreign keys, so that costs remain when a session is deleted."""

    __tablename__ = "llm_calls"

    turn_id: Mapped[UUID]
    """Public id of the answer; for a direct question, a summary or a title an id that no message has."""
    attempt: Mapped[int]
    """Position among the attempts of the turn, from 1."""
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    """User who asked; null after the account was erased."""
    session_id: Mapped[int | None] = mapped_column(BigInteger)
    """Internal key of the session; null for a direct question, and after the account was erased."""
    model_requested: Mapped[str] = mapped_column(String(200))
    """Requested model."""
    model_used: Mapped[str | None] = mapped_column(String(200))
    """Model name in the provider's response, often more specific; null without a response."""
    is_fallback: Mapped[bool] = mapped_column(server_default=false())
    """Whether the model is not the turn's first one."""
    status: Mapped[str] = mapped_column(String(20))
    """`ok`, `error`, or `cancelled` if the answer was cancelled, or the process stopped or was killed, during the
    attempt.
    """
    error_code: Mapped[str | None] = mapped_column(String(50))
    """Of an `error`, its code."""
    prompt_tokens: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens sent, as reported by the provider or estimated."""
    completion_tokens: Mapped[int] = mapped_column(server_default=text("0"))
    """Tokens received."""
    is_estimated: Mapped[bool] = mapped_column(server_default=false())
    """Whether the token counts are estimates (one token per four characters), because the provider reported none or
    implausible ones, or the attempt was cancelled or failed after it may have used tokens.
    """
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric(18, 9))
    """Cost of the attempt in US dollars at the prices of that time; null if the price is not known."""
    latency_ms: Mapped[int]
    """Duration of the attempt."""
    first_token_ms: Mapped[int | None]
    """Of a streamed answer, time to first token; null if there was none, or the answer was not streamed."""
    is_cached: Mapped[bool] = mapped_column(server_default=false())
    """Whether the answer came from the response cache, or from a shared call that another request accounts for: no
    tokens, no cost.
    """
    purpose: Mapped[str] = mapped_column(String(20), server_default="answer")
    """`answer`; `summary` for a conversation summary of messages that exceed the context window; `title` for the title
    of a session.
    """
    fallback_reason: Mapped[str | None] = mapped_column(String(50))
    """Why the turn's first model was not used: its error code, or `model_suspended` (circuit breaker open)."""
    provider: Mapped[str | None] = mapped_column(String(50))
    """Name of the provider of the requested model, `default` for that of `OPENAI_BASE_URL`; null in rows of earlier
    releases.
    """

    __table_args__ = (
        UniqueConstraint("turn_id", "attempt"),
        CheckConstraint("status IN ('ok', 'error', 'cancelled')", name="status"),
        CheckConstraint("(status = 'error') = (error_code IS NOT NULL)", name="error_with_code"),
        CheckConstraint("attempt > 0", name="attempt"),
        CheckConstraint("purpose IN ('answer', 'summary', 'title')", name="purpose"),
        CheckConstraint("fallback_reason IS NULL OR is_fallback", name="reason_of_fallback"),
        CheckConstraint("cost_usd >= 0", name="cost_usd"),
        CheckConstraint("prompt_tokens >= 0 AND completion_tokens >= 0 AND latency_ms >= 0", name="amounts"),
        Index("ix_llm_calls_created_at", "created_at"),
        Index("ix_llm_calls_user_id_created_at", "user_id", "created_at"),
        Index("ix_llm_calls_session_id", "session_id", postgresql_where=text("session_id IS NOT NULL")),
    )
