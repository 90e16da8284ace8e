"""The streaming reader of import files."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.transfer.formats import json_reader, outline
from app.chat.transfer.formats.json_reader import read_sessions
from app.chat.transfer.formats.outline import FileOutline, read_outline
from app.core.exceptions import AppError
from tests.chat.transfer.files import JSON_VALUES, conversation, file_of, native, session


@given(st.lists(JSON_VALUES))
def test_items_of_a_list_are_read_as_they_were_written(values: list[Any]) -> None:
    file = file_of(values)
    outline = read_outline(file)
    assert outline == FileOutline("chatgpt", len(values))
    assert [raw.value for raw in read_sessions(file, outline)] == json.loads(json.dumps(values))


@given(st.lists(JSON_VALUES), st.booleans())
def test_sessions_are_found_wherever_they_are_in_the_object(values: list[Any], comes_first: bool) -> None:  # noqa: FBT001 - of hypothesis
    fields = native(*values)
    file = file_of(dict(reversed(fields.items())) if comes_first else fields)
    outline = read_outline(file)
    assert outline == FileOutline("conversations", len(values))
    read = list(read_sessions(file, outline))
    assert [raw.value for raw in read] == json.loads(json.dumps(values))
    assert [raw.index for raw in read] == list(range(len(values)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1,",
        b"[]]",
        b"nothing",
        b"[NaN]",
        b'["\xff"]',
        b"[" + b"9" * 5000 + b"]",
        b"[1e400]",
        b'["\xed\xa0\x80"]',
        b"\x1f\x8b\x08",
        b"[1][2]",
    ],
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(AppError) as error:
        read_outline(file_of(content))
    assert (error.value.status, error.value.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (5, "import_format_unknown"),
        ("text", "import_format_unknown"),
        ({}, "import_format_unknown"),
        ({"format": "other", "version": 1, "sessions": []}, "import_format_unknown"),
        (native(sessions={}), "import_format_unknown"),
        (native(version=2), "import_version_unknown"),
        (native(version=True), "import_version_unknown"),
        (native(version="1"), "import_version_unknown"),
        (native(exported_at=5), "import_format_invalid"),
        (native(exported_at="yesterday"), "import_format_invalid"),
        (native(exported_at=[]), "import_format_invalid"),
        (native(exported_at=None), "import_format_invalid"),
        ({"format": "chat-bot-system/conversations", "version": 1, "sessions": []}, "import_format_invalid"),
        (native(other=1), "import_format_invalid"),
        (native(other={"a": [1]}), "import_format_invalid"),
        (native(**{f"field {number}": number for number in range(5000)}), "import_format_invalid"),
        (json.dumps(native()).encode()[:-1] + b',"version":1}', "import_format_invalid"),
        (b"[" * 200 + b"]" * 200, "import_nested_too_deep"),
        ([0] * 10_001, "import_too_large"),
    ],
)
def test_other_files_are_refused(content: object, code: str) -> None:
    with pytest.raises(AppError) as error:
        read_outline(file_of(content))
    assert (error.value.status, error.value.code) == (422, code)


def test_a_byte_order_mark_is_skipped() -> None:
    assert read_outline(file_of(b"\xef\xbb\xbf[{}]")).session_count == 1


def test_number_of_values_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline, "_FREE_EVENTS", 20)
    with pytest.raises(AppError, match="import_too_large"):
        read_outline(file_of([[0] * 100]))
    assert read_outline(file_of([["text"] * 100])).session_count == 1


def test_a_large_session_is_left_out_and_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_reader, "MAX_SESSION_SIZE", 2000)
    file = file_of(native(session(), session({"a": ["x" * 100] * 50}), session()))
    read = list(read_sessions(file, read_outline(file)))
    assert [raw.problem for raw in read] == [None, "session_too_large", None]
    assert read[1].value is None


def test_duplicate_names_are_reported() -> None:
    file = file_of(b'[{"mapping": {"a": 1, "b": 2, "a": 3}}, {"b": 1}]')
    assert [raw.problem for raw in read_sessions(file, read_outline(file))] == ["duplicate_key", None]


def test_fields_that_are_not_wanted_are_not_built() -> None:
    content = conversation({"a": {"message": {"metadata": {"huge": [1, {"x": []}], "small": 2}}, "parent": None}})
    file = file_of([content])
    wanted: json_reader.Wanted = {"mapping": {"*": {"message": {"metadata": {"small": None}}}}}
    (raw,) = read_sessions(file, read_outline(file), wanted)
    assert raw.value == {"mapping": {"a": {"message": {"metadata": {"small": 2}}}}}
