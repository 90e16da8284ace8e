"""The file format of exported conversations."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from app.chat.transfer.formats import conversation_file
from app.chat.transfer.formats.conversation_file import ConversationFile, read_session
from app.chat.transfer.formats.imported_session import SessionRefusedError
from tests.chat.transfer.files import NOW, TIME, message, native, session


def test_the_example_is_valid_in_the_format() -> None:
    content = native(session(message(1, None), message(2, 1, status="failed", error="timeout")))
    assert TypeAdapter(ConversationFile).validate_python(content).sessions[0].title == "Trip"


def test_the_documented_schema_is_that_of_the_models() -> None:
    documented = json.loads(Path("docs/reference/conversation-export.schema.json").read_text())
    assert documented == conversation_file.json_schema()


def test_a_session_with_branches_is_read() -> None:
    content = session(
        message(1, None, context={"tone": "casual"}),
        message(2, 1, model="small", status="cancelled"),
        message(4, 1, error="timeout", status="failed"),
        message(5, 4),
        message(7, None),
        active_message=2,
        tags=["a", "A", "\u0041\u0308  b"],
        is_pinned=True,
        title_source="question",
        context={"language": "de"},
    )
    read = read_session(content, now=NOW)
    assert [m.parent for m in read.messages] == [None, 0, 0, 2, None]
    assert [m.meta for m in read.messages[:3]] == [{"tone": "casual"}, {"model_used": "small"}, {"error": "timeout"}]
    assert (read.active, read.tags, read.is_pinned, read.is_archived) == (1, ["a", "ä b"], True, False)
    assert (read.title_source, read_session(session(), now=NOW).title_source) == ("question", "user")
    assert read.meta == {"language": "de"}


def test_times_in_the_future_become_the_present() -> None:
    future = (NOW + timedelta(days=400)).isoformat()
    content = session(message(1, None, timestamp=future), created_at=future, updated_at=future)
    read = read_session(content, now=NOW)
    assert {read.created_at, read.updated_at, read.messages[0].created_at} == {NOW}


@pytest.mark.parametrize(
    ("content", "reason", "place"),
    [
        (5, "invalid", ""),
        ({}, "invalid", "title"),
        (session(unknown=1), "invalid", ""),
        (session(title=" "), "invalid", "title"),
        (session(title="x" * 201), "text_too_long", "title"),
        (session(created_at=5), "invalid", "created_at"),
        (session(created_at="2026-01-01T00:00:00"), "invalid", "created_at"),
        (session(context={"tone": "rude"}), "invalid", "context"),
        (session(is_pinned="yes"), "invalid", "is_pinned"),
        (session(title_source="admin"), "invalid", "title_source"),
        (session(tags=["x" * 51]), "invalid", "tags[0]"),
        (session(tags=["x", " "]), "invalid", "tags[1]"),
        (session(tags=[str(number) for number in range(21)]), "invalid", "tags"),
        (session(active_message=1), "missing_parent", "active_message"),
        (session(message(1, 1)), "cycle", "messages[0]"),
        (session(message(1, 4), message(2, 1), message(3, 2), message(4, 3)), "cycle", "messages[0]"),
        (session(message(5, None), message(6, 3)), "missing_parent", "messages[1]"),
        (session(message(1, None), message(1, None)), "duplicate_id", "messages[1]"),
        (session(message(3, None), message(2, 3)), "invalid", "messages[1].id"),
        (session(message(2, None)), "wrong_parent", "messages[0]"),
        (session(message(1, None), message(2, 1), message(4, 2)), "wrong_parent", "messages[2]"),
        (session(message(1, None, status="failed")), "invalid", "messages[0].status"),
        (session(message(1, None, model="x")), "invalid", "messages[0].status"),
        (session(message(1, None, content=" \n")), "empty", "messages[0].content"),
        (session(message(1, None, content="a\x00b")), "invalid", "messages[0].content"),
        (session(message(1, None, content="x" * 1_000_001)), "text_too_long", "messages[0].content"),
        (session(message(1, None, content=["x"])), "invalid", "messages[0].content"),
        (session(message(1, None, role="system")), "invalid", "messages[0].role"),
        (session(message(1, None), message(2, 1, context={})), "invalid", "messages[1].context"),
        (session(message(1, None), message(2, 1, status="pending")), "invalid", "messages[1].status"),
        (session(message(0, None)), "invalid", "messages[0].id"),
        (session(message(2**31, None)), "invalid", "messages[0].id"),
        (session({**message(1, None), "id": True}), "invalid", "messages[0].id"),
        (session(messages={}), "invalid", "messages"),
        (session(messages=[{}] * 20_001), "session_too_large", "messages"),
    ],
)
def test_what_violates_the_format_is_refused_with_reason_and_place(content: Any, reason: str, place: str) -> None:  # noqa: ANN401 - any JSON
    with pytest.raises(SessionRefusedError) as refusal:
        read_session(content, now=NOW)
    assert (refusal.value.reason, refusal.value.place) == (reason, place)


def test_fingerprint_is_that_of_the_conversation() -> None:
    one = read_session(session(message(1, None)), now=NOW)
    same = read_session(session(message(3, None, content="text 1"), title="Renamed", tags=["x"]), now=NOW)
    others = (
        session(message(1, None, content="other")),
        session(message(1, None), created_at=TIME.replace("05", "06")),
        session(message(1, None), message(2, 1)),
        session(),
    )
    assert one.fingerprint() == same.fingerprint()
    assert one.fingerprint() not in {read_session(other, now=NOW).fingerprint() for other in others}
