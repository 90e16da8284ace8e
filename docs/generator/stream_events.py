"""Table of the events of streams, from their schemas."""

from pathlib import Path

from app.chat.schemas import events
from app.chat.streaming import openapi
from docs.generator.markdown import code, codes, sentence, table, with_blocks
from docs.generator.paths import REFERENCE

PAGE = REFERENCE / "stream-events.md"
_MEANINGS = {
    "message.created": "first event of a stream that is read from its beginning",
    "session.title": "of a new answer, after `message.created` if the first question or a model has given the title; "
    "before the terminal event if it has changed meanwhile",
    "message.reasoning": "only with `?reasoning=true`: a part of what the model thinks before the answer. It is not a "
    "part of the content",
    "message.delta": "a part of the content; all parts together are the content",
    "message.snapshot": "the whole answer, which replaces the text so far; a terminal event follows",
    "message.completed": "terminal: the answer is complete",
    "message.failed": "terminal: no model answered, or the model or the service stopped before the end. The content is "
    "the text so far; if there is none and no model answered, the fallback message",
    "message.cancelled": "terminal: the answer was cancelled",
}
"""When each event is sent."""


def event_names() -> list[str]:
    """Return the names of all events."""
    return list(openapi.TURN_SCHEMAS)


def events_table() -> str:
    """Return the table of the events."""
    rows = []
    for name, kind in openapi.TURN_SCHEMAS.items():
        data, schema = codes(kind.model_fields), code(kind.__name__)
        if name == "message.created":
            data += f"; of a direct question only {codes(events.DirectCreatedEvent.model_fields)}"
            schema += f"; {code(events.DirectCreatedEvent.__name__)}"
        rows.append((code(name), data, schema, sentence(_MEANINGS[name])))
    return table(("Event", "Data", "Schema", "Meaning"), rows)


def documents() -> dict[Path, str]:
    """Return the page with its table."""
    return {PAGE: with_blocks(PAGE, {"events": events_table()})}
