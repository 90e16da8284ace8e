"""Conversations of a ChatGPT export (`conversations.json`).

A conversation is a tree of nodes, of which some have no message that people wrote or read: system messages, calls of
tools and their results, hidden messages. They are left out, and their children follow the nearest node that is kept.
Answers that ChatGPT gave in several messages, with calls of tools in between, become one answer.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.chat.transfer.formats.chatgpt_tree import PARTS_SEPARATOR, Node, TreeBuilder, instant, sort_by_time
from app.chat.transfer.formats.imported_session import (
    MAX_MESSAGES,
    MAX_TEXT_LENGTH,
    ImportedSession,
    LeftOut,
    LeftOutReason,
    SessionRefusedError,
)
from app.chat.transfer.formats.json_reader import Wanted
from app.core.text import is_blank
from app.database.models.chat.chat_session import DEFAULT_TITLE

WANTED: Wanted = {
    "title": None,
    "create_time": None,
    "update_time": None,
    "current_node": None,
    "is_archived": None,
    "mapping": {
        "*": {
            "parent": None,
            "message": {
                "author": {"role": None},
                "create_time": None,
                "content": {"content_type": None, "parts": {"*": {"content_type": None, "text": None}}},
                "recipient": None,
                "metadata": {"is_visually_hidden_from_conversation": None, "model_slug": None},
            },
        }
    },
}
"""Fields that are read. Others are not even built, so that large metadata costs no memory."""

_MAX_TITLE = 200
_MAX_MODEL_NAME = 200
_REASONING = {"thoughts", "reasoning_recap"}
_TEXT_TYPES = {"text", "multimodal_text"}
_FIRST_YEAR = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_LAST_YEAR = datetime(2200, 1, 1, tzinfo=UTC).timestamp()


def read_session(value: object, *, now: datetime) -> ImportedSession:
    """Return a conversation of the file.

    Raises:
        SessionRefusedError: it is no conversation, its nodes are not a tree, none of its messages can be imported, or
            it is too large.

    """
    if not isinstance(value, dict) or not isinstance(value.get("mapping"), dict):
        raise SessionRefusedError("invalid")
    left_out: list[LeftOut] = []
    nodes, index_of = _read_nodes(value["mapping"], left_out)
    order = sort_by_time(nodes)
    created = _time(value.get("create_time")) or next((nodes[i].time for i in order if nodes[i].time), None)
    created_at = instant(created, now)
    builder = TreeBuilder(nodes, left_out, created_at, now, current=_find(index_of, value.get("current_node")))
    messages = builder.build(order)
    if not messages:
        raise SessionRefusedError("empty")
    updated = _time(value.get("update_time"))
    last_time = max((message.created_at for message in messages), default=created_at)
    title = _title(value.get("title"))
    return ImportedSession(
        title=title or DEFAULT_TITLE,
        title_source="user" if title else "default",
        meta={},
        created_at=created_at,
        updated_at=last_time if updated is None else instant(updated, now),
        messages=messages,
        active=builder.active(),
        is_archived=value.get("is_archived") is True,
        left_out=left_out,
    )


def _read_nodes(mapping: dict[str, Any], left_out: list[LeftOut]) -> tuple[list[Node], dict[str, int]]:
    if len(mapping) > MAX_MESSAGES:
        raise SessionRefusedError("session_too_large", "mapping")
    index_of = {node_id: index for index, node_id in enumerate(mapping)}
    nodes: list[Node] = []
    for index, raw in enumerate(mapping.values()):
        place = f"mapping[{index}]"
        if not isinstance(raw, dict):
            raise SessionRefusedError("invalid", place)
        parent_id = raw.get("parent")
        parent = _find(index_of, parent_id)
        if parent_id is not None and parent is None:
            raise SessionRefusedError("missing_parent", place)
        node = Node(index, parent)
        nodes.append(node)
        if raw.get("message") is not None:
            _read_message(node, raw["message"], place, left_out)
    for node in nodes:
        if node.parent is not None:
            nodes[node.parent].children.append(node.index)
    return nodes, index_of


def _read_message(node: Node, message: object, place: str, left_out: list[LeftOut]) -> None:
    if not isinstance(message, dict):
        raise SessionRefusedError("invalid", place)
    node.time = _time(message.get("create_time"))
    reason = _reason_to_leave_out(message)
    if reason is None:
        text, has_attachment = _text(message["content"])
        if has_attachment:
            left_out.append(LeftOut(place, "attachment"))
        if is_blank(text):
            reason = None if has_attachment else "empty"
            text = ""
        elif len(text) > MAX_TEXT_LENGTH:
            reason, text = "text_too_long", ""
        if text:
            node.role = message["author"]["role"]
            node.text = text
            slug = _mapping(message.get("metadata")).get("model_slug")
            node.model = _clean(slug)[:_MAX_MODEL_NAME] or None if isinstance(slug, str) else None
    if reason is not None:
        left_out.append(LeftOut(place, reason))


def _reason_to_leave_out(message: Mapping[str, Any]) -> LeftOutReason | None:
    role = _mapping(message.get("author")).get("role")
    content = _mapping(message.get("content"))
    kind = content.get("content_type")
    reasons: tuple[tuple[LeftOutReason, bool], ...] = (
        ("hidden", _mapping(message.get("metadata")).get("is_visually_hidden_from_conversation") is True),
        ("system_message", role == "system"),
        ("tool_message", role == "tool" or message.get("recipient") not in (None, "all")),
        ("reasoning", kind in _REASONING if isinstance(kind, str) else False),
        ("unsupported_content", role not in {"user", "assistant"} if isinstance(role, str) else True),
        ("unsupported_content", kind not in _TEXT_TYPES if isinstance(kind, str) else True),
    )
    return next((reason for reason, holds in reasons if holds), None)


def _text(content: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the text of a message, and whether it has other parts too, such as images."""
    parts = content.get("parts")
    texts = []
    has_attachment = False
    for part in parts if isinstance(parts, list) else ():
        text = _mapping(part).get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(text)
        else:
            has_attachment = True
    return PARTS_SEPARATOR.join(filter(None, texts)).replace("\x00", "\ufffd"), has_attachment


def _find(index_of: dict[str, int], node_id: object) -> int | None:
    return index_of.get(node_id) if isinstance(node_id, str) else None


def _title(title: object) -> str:
    return _clean(title)[:_MAX_TITLE].rstrip() if isinstance(title, str) else ""


def _clean(text: str) -> str:
    """Return the text in one line, without characters that cannot be stored or seen."""
    return " ".join("".join(" " if is_blank(character) else character for character in text).split())


def _time(value: object) -> float | None:
    """Return a time in seconds since 1970. None: it is missing or cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if _FIRST_YEAR <= value < _LAST_YEAR else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
