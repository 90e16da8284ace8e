"""Lone surrogates of JSON files become U+FFFD, wherever the file is cut into chunks; everything else is unchanged."""

import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.transfer.formats.json_reader import read_sessions
from app.chat.transfer.formats.outline import read_outline
from app.chat.transfer.formats.surrogate_filter import SurrogateFilter

LONE = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")
PIECES = st.sampled_from(
    ["\\ud83d", "\\ude00", "\\uDBFF", "\\udfff", "\\\\", "\\\\ud800", "\\n", "a", "ud800", "é", "\\u0041"]
)


def filtered(document: bytes, size: int) -> bytes:
    file = SurrogateFilter(io.BytesIO(document))
    return b"".join(iter(lambda: file.read(size), b""))


@given(pieces=st.lists(PIECES, max_size=40), size=st.integers(1, 40))
def test_texts_equal_those_of_a_parser_that_keeps_surrogates(pieces: list[str], size: int) -> None:
    document = f'"{"".join(pieces)}"'
    result = filtered(document.encode(), size)
    assert len(result) == len(document.encode())
    assert json.loads(result) == LONE.sub("\ufffd", json.loads(document))


@pytest.mark.parametrize(
    "text", ["a\\ud800b", "x\\ud800\\u0041y", "\\ud800\\u0000", "a\\udc00b", "\\ud83d\\ud83d\\ude00"]
)
def test_a_file_with_lone_surrogates_is_read(text: str) -> None:
    file = io.BytesIO(b'[{"mapping": {}, "title": "%s"}]' % text.encode())
    (session,) = read_sessions(file, read_outline(file))
    assert session.value["title"] == LONE.sub("\ufffd", json.loads(f'"{text}"'))


def test_a_long_run_of_backslashes_is_unchanged() -> None:
    document = b'"' + b"\\" * 4_000_000 + b'"'
    assert filtered(document, 65_536) == document
