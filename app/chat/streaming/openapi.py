"""OpenAPI description of the event streams."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.chat.schemas.events import (
    DirectCreatedEvent,
    MessageCreatedEvent,
    MessageDeltaEvent,
    MessageEndedEvent,
    MessageFailedEvent,
    MessageReasoningEvent,
    MessageSnapshotEvent,
    SessionTitleEvent,
)

_ENDINGS: dict[str, type[BaseModel]] = {
    "message.completed": MessageEndedEvent,
    "message.failed": MessageFailedEvent,
    "message.cancelled": MessageEndedEvent,
}
TURN_SCHEMAS: dict[str, type[BaseModel]] = {
    "message.created": MessageCreatedEvent,
    "session.title": SessionTitleEvent,
    "message.reasoning": MessageReasoningEvent,
    "message.delta": MessageDeltaEvent,
    "message.snapshot": MessageSnapshotEvent,
    **_ENDINGS,
}
"""Schemas of the data of all events, by the name of the event."""
DIRECT_SCHEMAS: dict[str, type[BaseModel]] = {
    "message.created": DirectCreatedEvent,
    "message.reasoning": MessageReasoningEvent,
    "message.delta": MessageDeltaEvent,
    "message.snapshot": MessageSnapshotEvent,
    **_ENDINGS,
}


def _events(kinds: dict[str, type[BaseModel]]) -> dict[int | str, dict[str, Any]]:
    # OpenAPI 3.2, section 4.14.4: schema of one event. Its data is text that contains JSON.
    schemas = [
        {
            "type": "object",
            "required": ["event", "data", "id"],
            "properties": {
                "event": {"const": name},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"$ref": f"#/components/schemas/{kind.__name__}"},
                },
                "id": {"type": "string", "description": "A position that `Last-Event-ID` accepts."},
            },
        }
        for name, kind in kinds.items()
    ]
    return {
        200: {
            "description": "The events of the answer. The last one is completed, failed or cancelled.",
            "content": {"text/event-stream": {"itemSchema": {"oneOf": schemas}}},
        }
    }


TURN_EVENTS = _events(TURN_SCHEMAS)
DIRECT_EVENTS = _events(DIRECT_SCHEMAS)


def event_schemas() -> dict[str, Any]:
    """Return the schemas that the descriptions refer to."""
    kinds = {*TURN_SCHEMAS.values(), *DIRECT_SCHEMAS.values()}
    _, schemas = models_json_schema(
        [(kind, "serialization") for kind in sorted(kinds, key=lambda kind: kind.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions
