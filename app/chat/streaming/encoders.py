"""Encoders of event streams: how the events of an answer are written for clients."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from app.chat.streaming import events
from app.chat.streaming.answer_text import Ending
from app.graph.ports.tool_calls import ToolCallPiece


class EventEncoder(Protocol):
    """Writes the events of one stream. A position is the number of characters that the client has then."""

    @property
    def with_reasoning(self) -> bool:
        """Whether the stream has events with the model's reasoning."""
        ...

    @property
    def with_tool_calls(self) -> bool:
        """Whether the stream has events with tool calls."""
        ...

    def delta(self, text: str, position: int, /) -> bytes:
        """Return the event of a piece of text that ends at a position."""
        ...

    def reasoning(self, text: str, position: int, /) -> bytes:
        """Return the event of a piece of reasoning."""
        ...

    def tool_calls(self, pieces: Sequence[ToolCallPiece], position: int, /) -> bytes:
        """Return the event of pieces of tool calls."""
        ...

    def ending(self, end: Ending, position: int, /) -> bytes:
        """Return the events that end the stream."""
        ...

    def cut(self) -> bytes:
        """Return what precedes the end of a stream without an ending.

        A stream of a turn of this process, as every chat completion, ends so only when its login or API key is no
        longer valid; one that follows another process also when this process stops, or the answer is deleted.
        """
        ...


class SessionTitle(NamedTuple):
    """Title of a session, as a client knows it."""

    id: UUID
    title: str


class MessageEventEncoder:
    """`EventEncoder` of the native API."""

    with_tool_calls = False
    delta = staticmethod(events.delta)
    reasoning = staticmethod(events.reasoning)

    def __init__(self, session: SessionTitle | None = None, *, with_reasoning: bool = False) -> None:
        """`session`: the title that the client knows; None: the answer has no session.

        `with_reasoning`: the client has asked for events with the model's reasoning.
        """
        self.with_reasoning = with_reasoning
        self._session = session

    def tool_calls(self, _pieces: Sequence[ToolCallPiece], _position: int) -> bytes:
        """Return nothing: only clients of the chat completions API offer tools."""
        return b""

    def ending(self, end: Ending, position: int) -> bytes:
        """Return the terminal event, after that of the session's title if it has changed."""
        session, title = self._session, end.title
        event = events.ending(end, position)
        if session is not None and title is not None and title != session.title:
            return events.session_title(session.id, title, position) + event
        return event

    def cut(self) -> bytes:
        """Return nothing: a stream without a terminal event is resumed."""
        return b""
