"""Blank text, and the form in which texts are compared."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.text import fold, is_blank, normal_form, strip_blank

PINK_HEART = "\U0001fa77"  # Unicode 15: unassigned in the tables of Python 3.11
BLANK = "\t\n\r\x00\x1f\x7f\x85\u00a0\u00ad\u1680\u180e\u2003\u200b\u200d\u2028\u202e\u2060\u2069\u3000\ufeff\U000e0041"


@pytest.mark.parametrize("text", ["", " ", BLANK, *BLANK])
def test_white_space_controls_and_format_characters_are_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize(
    "text",
    ["a", ".", "日", PINK_HEART, "\U0001f9ff", "\u3164", "\u0301", "\ufe0f", "\ue000", "\U0010ffff", "\u2065", " x "],
)
def test_other_characters_are_not_blank_even_if_they_are_unassigned(text: str) -> None:
    assert not is_blank(text)


def test_blank_characters_are_those_of_the_unicode_tables() -> None:
    newer_tables = unicodedata.unidata_version.split(".")[0] != "14"
    for number in range(0x110000):
        character = chr(number)
        category = unicodedata.category(character)
        if category != "Cn" or newer_tables:
            expected = category in {"Cc", "Cf", "Zs", "Zl", "Zp"} or character.isspace()
            assert is_blank(character) is expected, hex(number)


@given(st.text(alphabet=st.sampled_from(BLANK + "ab é")), st.text(alphabet=st.sampled_from(BLANK)))
def test_blank_characters_are_removed_at_the_ends_only(text: str, blank: str) -> None:
    stripped = strip_blank(text)
    assert stripped in text
    assert not stripped or not (is_blank(stripped[0]) or is_blank(stripped[-1]))
    assert strip_blank(f"{blank}x {stripped}y{blank}") == f"x {stripped}y"


@pytest.mark.parametrize(
    "spellings",
    [
        ["café", "cafe\u0301", "CAFÉ", "ＣＡＦＥ\u0301"],
        ["STRASSE", "straße", "Straße", "STRA\u1e9eE", "ｓｔｒａｓｓｅ"],
        ["ΟΔΟΣ", "οδος", "οδοσ"],
        ["ﬁne", "FINE", "ﬁNE"],
        ["가", "\u1100\u1161"],
        ["ｶﾞ", "ガ", "\u30ab\u3099"],
        ["Å", "\u212b", "a\u030a"],
    ],
)
def test_spellings_of_a_text_have_the_same_form(spellings: list[str]) -> None:
    assert len({fold(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(("text", "other"), [("cafe", "café"), ("nİna", "nina"), ("か", "が"), ("a b", "ab")])
def test_different_texts_have_different_forms(text: str, other: str) -> None:
    assert fold(text) != fold(other)


@given(st.text())
def test_the_form_is_its_own_form_and_that_of_each_normal_form(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert {fold(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")} == {fold(text)}


@given(st.text())
def test_normal_forms_of_usual_texts_are_those_of_unicode(text: str) -> None:
    for form in ("NFD", "NFKC", "NFKD"):
        assert normal_form(form, text) == unicodedata.normalize(form, text)


@pytest.mark.parametrize("marks", ["\u0315\u0300", "\u0345\u0f73", "\u0300\uff9e", "\u0300\u0f71\u0315"])
def test_a_text_with_many_marks_is_compared_in_bounded_time(marks: str) -> None:
    started = time.process_time()
    folded = fold("e" + marks * 20_000 + " end")
    assert time.process_time() - started < 0.5
    assert folded == fold("e" + marks * 10_000 + " end")
    assert folded.endswith(" end")
