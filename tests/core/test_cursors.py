"""Signed cursors of lists."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from app.core.cursors import CursorSigner, InvalidCursorError

SIGNER = CursorSigner("a secret key")
LIST: list[JsonValue] = ["sessions", "ada", "updated", False, None]
VALUES = st.lists(st.one_of(st.text(max_size=50), st.integers(), st.none(), st.booleans()), max_size=5)


@given(VALUES)
def test_cursor_returns_the_position(position: list[JsonValue]) -> None:
    assert SIGNER.decode(SIGNER.encode(position, list_id=LIST), list_id=LIST) == position


@pytest.mark.parametrize(
    "other", [[], LIST[:4], [*LIST, None], ["sessions", "bob", *LIST[2:]], [*LIST[:3], True, None], [*LIST[:4], ""]]
)
def test_cursor_of_another_list_is_invalid(other: list[JsonValue]) -> None:
    with pytest.raises(InvalidCursorError):
        SIGNER.decode(SIGNER.encode(["2026-11-01", 7], list_id=LIST), list_id=other)


def test_cursor_of_another_key_is_invalid() -> None:
    with pytest.raises(InvalidCursorError):
        SIGNER.decode(CursorSigner("another key").encode([1], list_id=LIST), list_id=LIST)


@given(st.data())
def test_edited_cursor_is_invalid(data: st.DataObject) -> None:
    signed = SIGNER.encode(["2026-11-01T00:00:00+00:00", 7], list_id=LIST)
    index = data.draw(st.integers(0, len(signed) - 1))
    character = data.draw(st.sampled_from("ABCxyz019-_"))
    edited = signed[:index] + character + signed[index + 1 :]
    decoded = [base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) for text in (signed, edited)]
    if decoded[0] != decoded[1]:  # the last bits of the last character may be without a meaning
        with pytest.raises(InvalidCursorError):
            SIGNER.decode(edited, list_id=LIST)


@given(st.text(alphabet="ABCxyz019-_", max_size=100))
def test_invented_cursor_is_invalid(cursor: str) -> None:
    with pytest.raises(InvalidCursorError):
        SIGNER.decode(cursor, list_id=LIST)
