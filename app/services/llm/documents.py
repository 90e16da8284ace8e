"""Lenient reading of the documents of OpenAI-compatible engines: whole completions, and chunks of streamed ones.

Fields that an engine adds do not matter, and neither do null, empty or missing ones where the rest can be understood.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic_core import from_json

from app.services.llm.error_reports import ErrorReport, find_error_report, is_error, read_error_report
from app.services.llm.finish_reasons import read_finish_reason

_REASONING_FIELDS: Final = ("reasoning_content", "reasoning", "thinking")
_TEXT_PARTS: Final = frozenset({None, "text", "output_text"})
_REASONING_PARTS: Final = frozenset({"thinking", "reasoning"})


class MalformedDocumentError(ValueError):
    """The document is not one of the protocol."""


class ReportedError(Exception):
    """The engine reported an error with a status of success, or in a stream."""

    def __init__(self, report: ErrorReport) -> None:
        self.report = report
        super().__init__()


@dataclass(slots=True)
class AnswerPart:
    """What a document says of the answer."""

    text: str = ""
    reasoning: str = ""
    is_refusal: bool = False
    tool_calls: list[Any] = field(default_factory=list)
    """As the engine sent them."""
    logprobs: list[Any] = field(default_factory=list)
    finish_reason: str | None = None
    """Empty: the engine sent an empty one. None: it sent none."""


def parse_json(data: bytes) -> Any:  # noqa: ANN401 - any JSON document
    """Parse a JSON document.

    Raises:
        ValueError, RecursionError: the data is not valid JSON.

    """
    try:
        return from_json(data)
    except ValueError:
        # The fast parser rejects lone surrogates, which the standard library accepts.
        return json.loads(data)


def check_document(document: object) -> dict[str, Any]:
    """Return the document, if it is an object that reports no error.

    Raises:
        ReportedError: it reports an error.
        MalformedDocumentError: it is not an object.

    """
    if (report := find_error_report(document)) is not None:
        raise ReportedError(report)
    if not isinstance(document, dict):
        raise MalformedDocumentError("the document is not an object")
    return document


def first_choice(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the choice with index 0. None: the document has none, as chunks with usage only.

    Raises:
        ReportedError: the choice reports an error, as those of OpenRouter may.
        MalformedDocumentError: the choices are not a list of objects.

    """
    choices = document.get("choices")
    if choices is None:
        return None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise MalformedDocumentError("the choices are not a list of objects")
    choice = next((choice for choice in choices if choice.get("index") in (None, 0, "0")), None)
    if choice is not None and is_error(choice.get("error")):
        raise ReportedError(read_error_report(choice["error"]))
    return choice


def read_choice(choice: dict[str, Any], message_field: str) -> AnswerPart:
    """Return what a choice says. `message_field` is `message`, or `delta` in a stream.

    Raises:
        MalformedDocumentError: the message, or its content, is of another type than the protocol allows.

    """
    reason = read_finish_reason(choice.get("finish_reason"))
    if reason is None:
        reason = read_finish_reason(choice.get("finishReason"))  # Gemini has sent its own name
    part = AnswerPart(finish_reason=reason)
    if isinstance(logprobs := choice.get("logprobs"), dict) and isinstance(tokens := logprobs.get("content"), list):
        part.logprobs = tokens
    message = choice.get(message_field)
    if message is None:
        return part
    if not isinstance(message, dict):
        raise MalformedDocumentError("the message is not an object")
    _read_content(message.get("content"), part)
    for name in _REASONING_FIELDS:
        if isinstance(reasoning := message.get(name), str) and reasoning:
            part.reasoning += reasoning
            break  # some engines send the same text under two names
    else:
        part.reasoning += _reasoning_details(message.get("reasoning_details"))
    if isinstance(tool_calls := message.get("tool_calls"), list):
        part.tool_calls = tool_calls
    part.is_refusal = part.is_refusal or bool(message.get("refusal"))
    return part


def _reasoning_details(details: object) -> str:
    """Return the text in OpenRouter's `reasoning_details`. Encrypted ones have none."""
    if not isinstance(details, list):
        return ""
    texts = (each.get("text") or each.get("summary") for each in details if isinstance(each, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _read_content(content: object, part: AnswerPart) -> None:
    if content is None:
        return
    if isinstance(content, str):
        part.text += content
        return
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise MalformedDocumentError("the content is neither text nor a list of parts")
    for each in content:
        if isinstance(each, str):
            part.text += each
        elif isinstance(each, dict):
            _read_part(each, part)


def _read_part(content: dict[str, Any], part: AnswerPart) -> None:
    kind = content.get("type")
    if not isinstance(kind, str | None):
        return
    if kind in _TEXT_PARTS and isinstance(text := content.get("text"), str):
        part.text += text
    elif kind in _REASONING_PARTS:
        inner = AnswerPart()
        _read_content(content.get("thinking") or content.get("reasoning") or content.get("text"), inner)
        part.reasoning += inner.text
    elif kind == "refusal":
        part.is_refusal = True


def remove_unstorable(text: str) -> str:
    """Return the text without characters that PostgreSQL (NUL) and UTF-8 (lone surrogates) cannot store."""
    if text.isascii():
        return text.replace("\x00", "")
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
