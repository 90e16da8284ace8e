"""Import files for tests."""

import io
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

NOW = datetime(2026, 11, 30, tzinfo=UTC)
TIME = "2026-01-02T03:04:05.678900Z"


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=6,
)
"""Values that JSON can express, with numbers of at most 64 bits."""


def native(*sessions: object, **fields: object) -> dict[str, Any]:
    """Return a file of this service's format."""
    header = {"format": "chat-bot-system/conversations", "version": 1, "exported_at": TIME}
    return {**header, "sessions": list(sessions), **fields}


def session(*messages: object, **fields: object) -> dict[str, Any]:
    """Return a session of such a file."""
    return {"title": "Trip", "created_at": TIME, "updated_at": TIME, "messages": list(messages), **fields}


def message(number: int, parent: int | None, **fields: object) -> dict[str, Any]:
    """Return a message: a question if the number is odd."""
    role = "user" if number % 2 else "assistant"
    return {"id": number, "parent": parent, "role": role, "content": f"text {number}", "timestamp": TIME, **fields}


def node(parent: str | None, role: str | None = None, text: str | None = None, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return a node of a ChatGPT conversation, without a message if there is no role."""
    if role is None:
        return {"id": "x", "parent": parent, "children": [], "message": None}
    content = fields.pop("content", {"content_type": "text", "parts": [text]})
    return {
        "id": "x",
        "parent": parent,
        "children": [],
        "message": {"id": "x", "author": {"role": role}, "content": content, "recipient": "all", **fields},
    }


def conversation(mapping: object, **fields: object) -> dict[str, Any]:
    """Return a ChatGPT conversation."""
    return {"title": "Trip", "create_time": 1_700_000_000.5, "update_time": 1_700_000_100, "mapping": mapping, **fields}


def file_of(content: object) -> io.BytesIO:
    """Return the content as an open file: bytes as they are, anything else as JSON."""
    return io.BytesIO(content if isinstance(content, bytes) else json.dumps(content).encode())
