"""Field types of requests and responses."""

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.core.schema_types import (
    DisplayText,
    JsonObject,
    Pagination,
    Storable,
    check_not_blank,
    replace_display_controls,
)

TEXT = TypeAdapter[str](Annotated[str, Storable])
LABEL = TypeAdapter[str](Annotated[str, DisplayText])
OBJECT = TypeAdapter[dict[str, Any]](JsonObject)


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@given(st.text())
def test_text_is_accepted_if_postgresql_can_store_it(text: str) -> None:
    storable = "\x00" not in text
    try:
        assert TEXT.validate_json(json.dumps(text)) == text
    except ValidationError:
        assert not storable
    else:
        assert storable


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(ValidationError):
        TEXT.validate_json(rb'"\ud800"')
    with pytest.raises(ValidationError):
        TEXT.validate_python("\ud800")


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u2003", "\u200b\ufeff"])
def test_blank_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="blank"):
        check_not_blank(text)


@pytest.mark.parametrize("text", ["a", " é", "\u200b.", "日本", "🙂", "مرحبا"])
def test_visible_text_is_not_blank(text: str) -> None:
    assert check_not_blank(text) == text


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"a": float("nan")}, id="nan"),
        pytest.param({"a": [float("inf")]}, id="infinity"),
        pytest.param({"a": 2**53 + 1}, id="more than JavaScript counts"),
        pytest.param({"a": [-1e308]}, id="huge"),
        pytest.param({"a": 1e-300}, id="tiny"),
        pytest.param({"a": "\x00"}, id="nul in a value"),
        pytest.param({"a\x00": 1}, id="nul in a key"),
        pytest.param({"a": {"b": ["\x00"]}}, id="nul below"),
        pytest.param({"a": "\ud800"}, id="surrogate in a value"),
        pytest.param({"\ud800": 1}, id="surrogate in a key"),
        pytest.param({"a": "x" * 8192}, id="too large"),
        pytest.param({"a": "ä" * 4096}, id="too large in bytes"),
        pytest.param(nested(9), id="too deep"),
        pytest.param(nested(5000), id="very deep"),
    ],
)
def test_objects_that_cannot_be_stored_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OBJECT.validate_python(value)


@pytest.mark.parametrize(
    "value",
    [{}, {"a": [0, -0.0, True, False, 2**53, -1e-15]}, {"a": [1, "b", None, {"c": 1.5}]}, nested(8), {"a": "x" * 8000}],
)
def test_valid_objects_are_unchanged(value: dict[str, Any]) -> None:
    assert OBJECT.validate_python(value) == value


@given(st.integers(0, 500), st.integers(1, 40), st.integers(1, 100))
def test_pages_cover_list_once(total: int, page: int, size: int) -> None:
    pagination = Pagination.of(total=total, page=page, size=size)
    assert (pagination.pages - 1) * size < total <= pagination.pages * size or total == pagination.pages == 0
    assert pagination.has_next == (page < pagination.pages)
    assert pagination.has_prev == (page > 1)


@pytest.mark.parametrize("character", [*"\x00\t\n\r\x1b\x7f\x85\u2028\u2029\u202a\u202e\u2066\u2069\ud800"])
def test_labels_stay_in_their_line_and_reorder_nothing(character: str) -> None:
    with pytest.raises(ValidationError):
        LABEL.validate_python(f"exe.{character}txt")


@pytest.mark.parametrize("label", ["", "Ada Lovelace", "مرحبا\u200f (2)", "क्\u200dष", "👩\u200d🚀", "e\u0301"])
def test_labels_of_all_scripts_are_unchanged(label: str) -> None:
    assert LABEL.validate_python(label) == label
    assert replace_display_controls(label) == label


def test_labels_of_files_are_cleaned() -> None:
    assert LABEL.validate_python(replace_display_controls("exe.\u202etxt\n2\x00")) == "exe. txt 2 "
