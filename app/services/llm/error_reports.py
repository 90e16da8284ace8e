"""Error reports of engines: in the bodies of error statuses, in bodies with status 200, and in streams."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

_MAX_DEPTH: Final = 6
_MAX_WORDING: Final = 2000
_MAX_DOCUMENT: Final = 20_000
_NAME_FIELDS: Final = (
    *("code", "error_code", "errorCode", "type", "error_type", "status", "reason"),
    *("blockReason", "block_reason"),
)
"""Fields with a name of the error. Some engines put a number there, as a number or as text."""
_MARKS: Final = ("flagged_input", "content_filter_result")
"""Fields whose presence tells the kind of error: they take the place of a name."""
_WORDING_FIELDS: Final = ("message", "msg", "raw")
_NESTED_FIELDS: Final = (
    "error",
    "innererror",
    "inner_error",
    "detail",
    "details",
    "metadata",
    "reasons",
    "promptFeedback",
)
_LOWEST_STATUS, _HIGHEST_STATUS = 400, 599


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """An error as an engine reported it.

    Its texts may contain the prompt or the key: they are never logged or shown.
    """

    names: frozenset[str]
    """Codes, types and reasons of the error and of the errors in it, in lower case."""
    wording: str
    """Its messages, in lower case."""
    status: int | None = None
    """HTTP status, of the response or in the report."""
    parameters: frozenset[str] = frozenset()
    """Names of the parameters of the request that it concerns."""
    retry_delay: str | None = None
    """Time after which a request may succeed, as in `30s`."""
    quoted_names: frozenset[str] = frozenset()
    """Those of `names` that are only in documents which the engine, or a gateway, quotes as text."""


def read_error_report(document: object, status: int | None = None) -> ErrorReport:
    """Return what the body of an error says; `status` is that of the response."""
    names: set[str] = set()
    quoted_names: set[str] = set()
    wordings: list[str] = []
    parameters: set[str] = set()
    retry_delay: str | None = None
    for holder, is_quoted in _holders(document, 0):
        if isinstance(holder, str):
            wordings.append(holder)
            continue
        found = quoted_names if is_quoted else names
        found.update(str(name).lower() for field in _NAME_FIELDS if _is_name(name := holder.get(field)))
        found.update(mark for mark in _MARKS if mark in holder)
        wordings += (text for field in _WORDING_FIELDS if isinstance(text := holder.get(field), str))
        location = holder.get("loc")
        places = [holder.get("param"), *(location if isinstance(location, list) else [])]
        parameters.update(place for place in places if isinstance(place, str))
        if isinstance(delay := holder.get("retryDelay"), str):
            retry_delay = delay
    all_names = names | quoted_names
    number = next((int(name) for name in all_names if name.isdecimal() and _is_status(int(name))), None)
    return ErrorReport(
        frozenset(all_names),
        " ".join(wordings).lower()[:_MAX_WORDING],
        status or number,
        frozenset(parameters),
        retry_delay,
        frozenset(quoted_names - names),
    )


def find_error_report(document: object) -> ErrorReport | None:
    """Return the error that a document with status 200, or an event, reports. None: it reports none."""
    if isinstance(document, list) and document and isinstance(document[0], dict):
        document = document[0]
    if not isinstance(document, dict):
        return None
    if (
        is_error(document.get("error"))
        or document.get("object") == "error"
        or document.get("type") == "error"
        or (not document.get("choices") and isinstance(document.get("promptFeedback"), dict))
    ):
        return read_error_report(document)
    return None


def is_error(value: object) -> bool:
    """Return whether the value of a field `error` is an error: some engines send an empty one with every answer."""
    return any(value.values()) if isinstance(value, dict) else bool(value)


def _holders(value: object, depth: int, *, is_quoted: bool = False) -> Iterator[tuple[dict[str, Any] | str, bool]]:
    """Yield the objects and texts of an error: itself, and the errors in it; and whether they are quoted as text."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, str):
        yield value, is_quoted
    elif isinstance(value, list):
        for each in value[:20]:
            yield from _holders(each, depth + 1, is_quoted=is_quoted)
    elif isinstance(value, dict):
        yield value, is_quoted
        for field in _NESTED_FIELDS:
            if field in value:
                yield from _holders(value[field], depth + 1, is_quoted=is_quoted)
        for field in _WORDING_FIELDS:
            text = value.get(field)
            if (document := _document_in(text)) is not None:
                yield from _holders(document, depth + 1, is_quoted=is_quoted or isinstance(text, str))


def _document_in(text: object) -> object:
    """Return the document in place of a text, or that a text consists of. None: it is a text.

    Mistral's messages may be objects, and gateways pass on the error of an engine as text.
    """
    if isinstance(text, dict | list):
        return text
    if not isinstance(text, str) or len(text) > _MAX_DOCUMENT or not text.lstrip().startswith("{"):
        return None
    try:
        return from_json(text)
    except ValueError:
        return None


def _is_name(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _is_status(number: int) -> bool:
    return _LOWEST_STATUS <= number <= _HIGHEST_STATUS
