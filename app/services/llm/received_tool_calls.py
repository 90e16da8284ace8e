"""Tool calls of an answer, collected from whole messages or from the pieces of a stream."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from app.graph.ports.tool_calls import ToolCall, ToolCallPiece
from app.services.llm.documents import MalformedDocumentError, remove_unstorable
from app.services.llm.received_text import ReceivedText

_MAX_CALLS: Final = 128
_MAX_NAME_LENGTH: Final = 200


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    key: object
    """Index that the engine gave the call; None: it gave none."""
    arguments: ReceivedText = field(default_factory=ReceivedText)


class ReceivedToolCalls:
    """Collects the tool calls of one answer. Engines differ: some send whole calls, or no indexes, or one for all."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls so far."""
        return tuple(ToolCall(call.id, call.name, call.arguments.text) for call in self._calls)

    @property
    def text(self) -> str:
        """Names and arguments as one text, to estimate tokens."""
        return " ".join(f"{call.name} {call.arguments.text}" for call in self._calls)

    def take(self, documents: list[Any]) -> list[ToolCallPiece]:
        """Take the entries of `tool_calls` in a message or a delta, and return the pieces in them.

        Raises:
            MalformedDocumentError: one of them cannot be assigned to a call, or there are too many calls.

        """
        return [piece for document in documents if (piece := self._take(document)) is not None]

    def end(self) -> list[ToolCallPiece]:
        """Return the pieces that were held back when the answer ended."""
        return [ToolCallPiece(index, rest) for index, call in enumerate(self._calls) if (rest := call.arguments.end())]

    def _take(self, document: object) -> ToolCallPiece | None:
        if not isinstance(document, dict) or not isinstance(function := document.get("function"), dict):
            raise MalformedDocumentError("a tool call is not an object with a function")
        identifier, name = _text(document.get("id")), _text(function.get("name"))
        index = self._find(document.get("index"), identifier, name)
        is_new = index == len(self._calls)
        if is_new:
            if not name or index >= _MAX_CALLS:
                raise MalformedDocumentError("a tool call has no name, or there are too many")
            identifier = identifier or f"call_{index}"
            self._calls.append(_Call(identifier, name, document.get("index")))
        arguments = _arguments(function.get("arguments"))
        added = self._calls[index].arguments.add(arguments) if arguments else ""
        if is_new:
            return ToolCallPiece(index, added, identifier, name)
        return ToolCallPiece(index, added) if added else None

    def _find(self, key: object, identifier: str, name: str) -> int:
        """Return the position of the call that a piece belongs to; the number of calls if it begins another one."""
        for index in range(len(self._calls) - 1, -1, -1):
            call = self._calls[index]
            if key is not None and call.key != key:
                continue
            if (not identifier or call.id == identifier) and (not name or bool(identifier)):
                return index
            if key is not None and name == call.name and not identifier:
                return index  # the name is repeated with every piece
            break
        return len(self._calls)


def _text(value: object) -> str:
    return remove_unstorable(value)[:_MAX_NAME_LENGTH] if isinstance(value, str) else ""


def _arguments(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    # Some engines send the object itself.
    return json.dumps(value, ensure_ascii=False)
