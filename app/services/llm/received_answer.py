"""An answer in OpenAI's protocol, collected from the events of a stream or taken from a whole document."""

from collections.abc import Sequence
from typing import Any, Final

from app.graph.ports.chat_model import PublishText
from app.graph.ports.tool_calls import PublishToolCalls, ToolCallPiece
from app.services.llm.documents import (
    AnswerPart,
    ReportedError,
    check_document,
    first_choice,
    parse_json,
    read_choice,
)
from app.services.llm.error_reports import read_error_report
from app.services.llm.event_parser import Event
from app.services.llm.finish_reasons import LENGTH, UNKNOWN
from app.services.llm.reasoning_tags import ReasoningSeparator, separate_unopened
from app.services.llm.received_text import ReceivedText
from app.services.llm.received_tool_calls import ReceivedToolCalls
from app.services.llm.usage import ReportedUsage

_ANSWER_EVENTS = frozenset({b"", b"message"})
"""Types of the events that have parts of the answer."""
_MAX_LOGPROBS: Final = 100_000
"""Maximum number of tokens whose log probabilities are kept, approximately."""
MAX_REASONING_LENGTH = 50_000
"""Maximum number of characters of reasoning that are kept."""


class ReceivedAnswer:
    """Takes the events or the document of one answer, and collects its text, reasoning and metadata."""

    def __init__(
        self,
        publish_reasoning: PublishText | None = None,
        publish_tool_calls: PublishToolCalls | None = None,
        *,
        starts_with_reasoning: bool = False,
    ) -> None:
        """`publish_reasoning` and `publish_tool_calls` take the pieces of reasoning and tool calls as they arrive.

        Without `publish_tool_calls` they are collected only. `starts_with_reasoning`: the text begins with reasoning up
        to `</think>`, even without an opening tag.
        """
        self._publish_reasoning = publish_reasoning
        self._publish_tool_calls = publish_tool_calls
        self.tool_calls = ReceivedToolCalls()
        self.logprobs: list[Any] = []
        self.model: str | None = None
        self.usage = ReportedUsage()
        self.is_over = False
        """Whether the provider has sent the end of the stream."""
        self.is_refused = False
        self._finish_reason: str | None = None
        self._text = ReceivedText()
        self._reasoning = ReceivedText(MAX_REASONING_LENGTH)
        self.signs_of_life = 0
        """Number of pieces of reasoning, of tool calls and of comments so far."""
        self._separator = ReasoningSeparator(starts_with_reasoning=starts_with_reasoning)

    @property
    def finish_reason(self) -> str | None:
        """The finish reason. None: the answer is incomplete."""
        # An engine that sends empty reasons ends an answer with the end of the stream only.
        return self._finish_reason or (UNKNOWN if self._finish_reason == "" and self.is_over else None)

    @property
    def is_repaired(self) -> bool:
        """Whether the text differs from what the provider sent."""
        return self._text.is_repaired

    @property
    def text(self) -> str:
        """The text so far."""
        return self._text.text

    @property
    def reasoning(self) -> str:
        """The reasoning so far, truncated to `MAX_REASONING_LENGTH`."""
        return self._reasoning.text

    def feed(self, event: Event) -> str:
        """Take an event, and return the text in it, which may be empty.

        Raises:
            ReportedError: the event reports an error.
            ValueError, RecursionError: the event is not one of this protocol.

        """
        kind, data = event
        if self.is_over:
            return ""  # data after the end
        if data.strip() == b"[DONE]":
            self.is_over = True
            return self._end_text()
        if not data.strip():
            return ""
        if kind == b"error":
            raise ReportedError(read_error_report(_document_or_text(data)))
        try:
            document = parse_json(data)
        except ValueError:
            if kind not in _ANSWER_EVENTS:
                return ""  # such as a ping
            raise
        if self._separator.is_text and _is_plain_delta(document):
            self.model = document.get("model") or self.model
            text = document["choices"][0]["delta"]["content"]
            return self._text.add(text) if text else ""
        part = self._read(document)
        text = self._take(part)
        if part.finish_reason:
            text += self._end_text()
        return text

    def comment_received(self) -> None:
        """Count a comment in the stream, and pass it on as an empty piece of reasoning while there is no text."""
        self.signs_of_life += 1
        if self._publish_reasoning is not None and self._text.is_empty:
            self._publish_reasoning("")

    def end(self) -> str:
        """Return the text that was held back when the body ended."""
        self._store_tool_calls(self.tool_calls.end())
        return self._end_text() + self._text.end()

    def take_document(self, document: object) -> str:
        """Take the document of a whole completion, and return its text.

        Raises:
            ReportedError: it reports an error.
            ValueError: it is not a completion.

        """
        part = self._read(document)
        self.is_over = True
        if part.reasoning:
            self._store_reasoning(part.reasoning)
        text, reasoning = self._separator.take(part.text) if part.text else ("", "")
        if self._separator.is_text and not part.reasoning and not reasoning:
            text, reasoning = separate_unopened(text)
        if part.tool_calls:
            self._store_tool_calls(self.tool_calls.take(part.tool_calls))
        return self._store(text, reasoning) + self.end()

    def _end_text(self) -> str:
        """Store what was held back. Text that should have begun with reasoning and has no end of it is the answer."""
        text = self._store(*self._separator.end())
        if self.finish_reason in {None, LENGTH} or not (answer := self._separator.take_unopened()):
            return text
        self._reasoning = ReceivedText(MAX_REASONING_LENGTH)
        return text + self._text.add(answer)

    def _read(self, document: object) -> AnswerPart:
        """Take the metadata of a chunk, and return its part of the answer."""
        chunk = check_document(document)
        if isinstance(model := chunk.get("model"), str) and model:
            self.model = model
        choice = first_choice(chunk)
        self.usage.take(chunk, choice)
        if choice is None:
            return AnswerPart()
        # Some engines send the whole message instead of its next piece if the answer is short, or at its end once more.
        has_message = choice.get("delta") is None
        part = read_choice(choice, "message" if has_message else "delta")
        if has_message and not self._text.is_empty:
            part.text = part.reasoning = ""
        if has_message and self.tool_calls.calls:
            part.tool_calls = []
        if len(self.logprobs) < _MAX_LOGPROBS:
            self.logprobs += part.logprobs
        self.is_refused = self.is_refused or part.is_refusal
        if part.finish_reason is not None:
            self._finish_reason = part.finish_reason or self._finish_reason or ""
        return part

    def _take(self, part: AnswerPart) -> str:
        """Store a part of the answer, and return the text in it."""
        if part.reasoning:
            self._store_reasoning(part.reasoning)
        text = self._store(*self._separator.take(part.text)) if part.text else ""
        if part.tool_calls:
            self._store_tool_calls(self.tool_calls.take(part.tool_calls))
        return text

    def _store(self, text: str, reasoning: str) -> str:
        if reasoning:
            self._store_reasoning(reasoning)
        return self._text.add(text) if text else ""

    def _store_tool_calls(self, pieces: Sequence[ToolCallPiece]) -> None:
        if pieces:
            self.signs_of_life += 1
            if self._publish_tool_calls is not None:
                self._publish_tool_calls(pieces)

    def _store_reasoning(self, reasoning: str) -> None:
        self.signs_of_life += 1
        piece = self._reasoning.add(reasoning)
        if self._publish_reasoning is not None and piece:
            self._publish_reasoning(piece)


def _document_or_text(data: bytes) -> object:
    try:
        return parse_json(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace")


def _is_plain_delta(document: Any) -> bool:  # noqa: ANN401 - any JSON document
    """Return whether an event has text and nothing else. Most have, and reading all fields would be slower."""
    try:
        (choice,) = document["choices"]
        delta = choice["delta"]
        return (
            type(delta["content"]) is str
            and len(delta) <= 1 + ("role" in delta)
            and choice.get("finish_reason") is None
            and choice.get("index", 0) == 0
            and document.get("usage") is None
            and document.get("error") is None
            and document.get("object") != "error"
            and type(document.get("model", "")) is str
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        return False
