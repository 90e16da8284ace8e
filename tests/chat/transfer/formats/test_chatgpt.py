"""Conversations of a ChatGPT export."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.transfer.formats import chatgpt, chatgpt_tree
from app.chat.transfer.formats.chatgpt import read_session
from app.chat.transfer.formats.imported_session import ImportedSession, SessionRefusedError
from app.chat.transfer.formats.json_reader import read_sessions
from app.chat.transfer.formats.outline import read_outline
from tests.chat.transfer.files import NOW, conversation, file_of, node


def read(mapping: object, **fields: object) -> ImportedSession:
    """Return a conversation as the import reads it from a file."""
    file = file_of([conversation(mapping, **fields)])
    (raw,) = read_sessions(file, read_outline(file), chatgpt.WANTED)
    return read_session(raw.value, now=NOW)


def summary(read: ImportedSession) -> list[tuple[int | None, str, str]]:
    return [(message.parent, message.role, message.content) for message in read.messages]


def reasons(read: ImportedSession) -> list[tuple[str, str]]:
    return [(left_out.place, left_out.reason) for left_out in read.left_out]


def test_an_edited_question_and_a_regenerated_answer_are_branches() -> None:
    read_back = read(
        {
            "root": node(None),
            "q1": node("root", "user", "Hi", create_time=1_700_000_001),
            "a1": node("q1", "assistant", "Hello", create_time=1_700_000_002, metadata={"model_slug": "gpt-4o"}),
            "a2": node("q1", "assistant", "Good day", create_time=1_700_000_003),
            "q2": node("root", "user", "Hey", create_time=1_700_000_004),
            "a3": node("q2", "assistant", "Ho", create_time=1_700_000_005),
        },
        current_node="a2",
    )
    assert summary(read_back) == [
        (None, "user", "Hi"),
        (0, "assistant", "Hello"),
        (0, "assistant", "Good day"),
        (None, "user", "Hey"),
        (3, "assistant", "Ho"),
    ]
    assert read_back.active == 2
    assert read_back.messages[1].meta == {"model_used": "gpt-4o"}
    assert read_back.created_at == datetime.fromtimestamp(1_700_000_000.5, UTC)
    assert read_back.updated_at == datetime.fromtimestamp(1_700_000_100, UTC)
    assert read_back.messages[4].created_at == datetime.fromtimestamp(1_700_000_005, UTC)
    assert read_back.left_out == []


def test_what_nobody_wrote_or_read_is_left_out_with_a_reason() -> None:
    read_back = read(
        {
            "root": node(None),
            "system": node("root", "system", ""),
            "profile": node("system", "user", "About me", metadata={"is_visually_hidden_from_conversation": True}),
            "q": node("profile", "user", "Draw a cat"),
            "thought": node("q", "assistant", content={"content_type": "thoughts", "thoughts": []}),
            "call": node("thought", "assistant", '{"prompt": "cat"}', recipient="dalle.text2im"),
            "result": node("call", "tool", "done"),
            "code": node("result", "assistant", content={"content_type": "code", "text": "1+1"}),
            "blank": node("code", "assistant", " \n"),
            "a": node("blank", "assistant", "Here it is."),
        },
        current_node="a",
    )
    assert summary(read_back) == [(None, "user", "Draw a cat"), (0, "assistant", "Here it is.")]
    assert sorted(reasons(read_back)) == [
        ("mapping[1]", "system_message"),
        ("mapping[2]", "hidden"),
        ("mapping[4]", "reasoning"),
        ("mapping[5]", "tool_message"),
        ("mapping[6]", "tool_message"),
        ("mapping[7]", "unsupported_content"),
        ("mapping[8]", "empty"),
    ]
    assert read_back.active is None


def test_texts_of_a_multimodal_message_are_kept_and_its_images_are_left_out() -> None:
    parts = [
        {"content_type": "image_asset_pointer"},
        "What is",
        {"content_type": "audio_transcription", "text": "this?"},
    ]
    image_only = [{"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}]
    read_back = read(
        {
            "q": node(None, "user", content={"content_type": "multimodal_text", "parts": parts}),
            "a": node("q", "assistant", "A cat."),
            "q2": node("a", "user", content={"content_type": "multimodal_text", "parts": image_only}),
            "a2": node("q2", "assistant", "A dog."),
        }
    )
    assert summary(read_back) == [(None, "user", "What is\n\nthis?"), (0, "assistant", "A cat.\n\nA dog.")]
    assert ("mapping[0]", "attachment") in reasons(read_back)
    assert ("mapping[2]", "attachment") in reasons(read_back)


def test_parts_of_an_answer_become_one_answer() -> None:
    read_back = read(
        {
            "q": node(None, "user", "Weather?"),
            "a1": node("q", "assistant", "I look it up.", metadata={"model_slug": "gpt-4o"}),
            "t": node("a1", "tool", "rain"),
            "a2": node("t", "assistant", "It rains."),
            "a3": node("t", "assistant", "Rain."),
            "q2": node("a1", "user", "Never mind"),
        },
        current_node="a3",
    )
    assert sorted(summary(read_back), key=str) == [
        (0, "assistant", "I look it up."),
        (0, "assistant", "I look it up.\n\nIt rains."),
        (0, "assistant", "I look it up.\n\nRain."),
        (1, "user", "Never mind"),
        (None, "user", "Weather?"),
    ]
    assert read_back.active is not None
    assert read_back.messages[read_back.active].content == "I look it up.\n\nRain."
    assert read_back.messages[read_back.active].meta == {"model_used": "gpt-4o"}


def test_a_question_may_follow_one_without_an_answer() -> None:
    read_back = read({"q1": node(None, "user", "One"), "q2": node("q1", "user", "Two")})
    assert summary(read_back) == [(None, "user", "One"), (0, "user", "Two")]


def test_an_answer_without_a_question_is_left_out() -> None:
    read_back = read({"a": node(None, "assistant", "Hello!"), "q": node("a", "user", "Hi")})
    assert summary(read_back) == [(None, "user", "Hi")]
    assert reasons(read_back) == [("mapping[0]", "answer_without_question")]


def test_missing_and_impossible_times_are_replaced() -> None:
    late = (NOW + timedelta(days=900)).timestamp()
    read_back = read(
        {
            "q": node(None, "user", "Hi", create_time=None),
            "a": node("q", "assistant", "Ho", create_time=late),
            "b": node("q", "assistant", "Hu", create_time="now"),
        },
        create_time=True,
        update_time=-5,
    )
    assert [message.created_at for message in read_back.messages] == [NOW, NOW, NOW]
    assert (read_back.created_at, read_back.updated_at) == (NOW, NOW)


@pytest.mark.parametrize(
    ("title", "stored"),
    [
        (None, "New Chat"),
        (" \n\u200b", "New Chat"),
        (" Trip\x00 to\n Rome\u202e ", "Trip to Rome"),
        ("x" * 300, "x" * 200),
        (["x"], "New Chat"),
    ],
)
def test_titles_are_made_storable(title: object, stored: str) -> None:
    session = read({"q": node(None, "user", "Hi")}, title=title)
    assert (session.title, session.title_source) == (stored, "default" if stored == "New Chat" else "user")


def test_nul_in_a_text_is_replaced() -> None:
    assert read({"q": node(None, "user", "a\x00b")}).messages[0].content == "a\ufffdb"


@pytest.mark.parametrize(
    ("mapping", "reason", "place"),
    [
        ([], "invalid", ""),
        (None, "invalid", ""),
        ({"a": 5}, "invalid", "mapping[0]"),
        ({"a": {"parent": None, "message": "text"}}, "invalid", "mapping[0]"),
        ({"a": node(None), "b": node("gone", "user", "x")}, "missing_parent", "mapping[1]"),
        ({"a": {"parent": 5}}, "missing_parent", "mapping[0]"),
        ({"a": {"parent": ["x"]}}, "missing_parent", "mapping[0]"),
        ({"a": node("a", "user", "x")}, "cycle", "mapping[0]"),
        ({"r": node(None), "a": node("b", "user", "x"), "b": node("a", "assistant", "y")}, "cycle", "mapping[1]"),
        ({}, "empty", ""),
        ({"r": node(None), "a": node("r", "assistant", "x")}, "empty", ""),
        ({str(number): {"parent": None} for number in range(20_001)}, "session_too_large", "mapping"),
    ],
)
def test_a_broken_tree_is_refused_with_reason_and_place(mapping: object, reason: str, place: str) -> None:
    with pytest.raises(SessionRefusedError) as refusal:
        read(mapping)
    assert (refusal.value.reason, refusal.value.place) == (reason, place)


def test_a_text_that_is_too_long_is_left_out() -> None:
    read_back = read({"q": node(None, "user", "x" * 1_000_001), "q2": node("q", "user", "Hi")})
    assert summary(read_back) == [(None, "user", "Hi")]
    assert reasons(read_back) == [("mapping[0]", "text_too_long")]


def test_parts_that_multiply_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chatgpt_tree, "MAX_SESSION_SIZE", 10_000)
    mapping = {"0": node(None, "user", "Hi")}
    mapping |= {str(n): node(str(n - 1), "assistant", "x" * 100) for n in range(1, 30)}
    with pytest.raises(SessionRefusedError) as refusal:
        read(mapping)
    assert refusal.value.reason == "session_too_large"


def test_a_chain_of_the_maximum_length_is_read() -> None:
    mapping = {"0": node(None, "user", "Hi")}
    mapping |= {str(n): node(str(n - 1), ("user", "assistant")[n % 2], str(n)) for n in range(1, 20_000)}
    assert [message.parent for message in read(mapping).messages] == [None, *range(19_999)]


ROLES = st.sampled_from(["user", "assistant", "tool", "system", None])
TREES = st.lists(st.tuples(st.integers(0, 9), ROLES, st.integers(0, 5)), min_size=1, max_size=20)


@given(TREES, st.randoms(), st.data())
def test_the_shown_branch_is_what_was_kept_of_its_path(
    steps: list[tuple[int, str | None, int]],
    random: Any,  # noqa: ANN401 - of hypothesis
    data: st.DataObject,
) -> None:
    parents = [max(number - back, 0) if number and back else None for number, (back, _, _) in enumerate(steps)]
    items = []
    for number, ((_, role, time), parent) in enumerate(zip(steps, parents, strict=True)):
        parent_id = None if parent is None else str(parent)
        items.append((str(number), node(parent_id, role, str(number), create_time=1_700_000_000 + time)))
    random.shuffle(items)
    current = data.draw(st.integers(0, len(steps) - 1))
    if not any(role == "user" for _, role, _ in steps):
        with pytest.raises(SessionRefusedError, match="empty"):
            read(dict(items))
        return
    read_back = read(dict(items), current_node=str(current))
    check_tree(read_back)
    expected = kept_texts(steps, parents, current)
    # Without anything kept, the newest message is shown.
    assert not expected or shown_texts(read_back) == expected


def check_tree(session: ImportedSession) -> None:
    for index, message in enumerate(session.messages):
        assert message.parent is None or message.parent < index
        assert message.role == "user" or (
            message.parent is not None and session.messages[message.parent].role == "user"
        )


def kept_texts(steps: list[tuple[int, str | None, int]], parents: list[int | None], current: int) -> list[str]:
    path: list[tuple[str | None, str]] = []
    number: int | None = current
    while number is not None:
        path.insert(0, (steps[number][1], str(number)))
        number = parents[number]
    kept = [(role, text) for role, text in path if role in {"user", "assistant"}]
    while kept and kept[0][0] == "assistant":
        kept.pop(0)
    return [text for _, text in kept]


def shown_texts(session: ImportedSession) -> list[str]:
    texts: list[str] = []
    index: int | None = len(session.messages) - 1 if session.active is None else session.active
    while index is not None:
        texts[:0] = filter(None, session.messages[index].content.split("\n\n"))
        index = session.messages[index].parent
    return texts
