"""Messages and summaries, as the ports of the graph exchange them."""

from dataclasses import dataclass, field
from typing import Literal, TypedDict


class PromptMessage(TypedDict):
    """One message as the model gets it."""

    role: Literal["system", "user", "assistant"]
    content: str


class HistoryMessage(TypedDict):
    """A message of the session, said before."""

    seq: int
    """Its position in the session."""
    role: Literal["user", "assistant"]
    content: str


class Summary(TypedDict):
    """What is kept in mind of the older messages of a session."""

    text: str
    upto_seq: int
    """Position of the last message that is in it."""


@dataclass(frozen=True, slots=True)
class SessionHistory:
    """What is known of a session before a question."""

    messages: list[HistoryMessage] = field(default_factory=list)
    """The newest, oldest first."""
    summary: Summary | None = None
