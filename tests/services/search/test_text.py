"""Normal form, tokens and lexemes."""

import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.search.documents import CHUNK_SIZE, document_terms, lexeme_prefix
from app.services.search.normalization import normalize, normalize_with_offsets
from app.services.search.spelling import spelling_variants
from app.services.search.tokenizer import tokenize


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Straße", "strasse"),
        ("ÉCOLE", "ecole"),
        ("e\u0301cole", "ecole"),
        ("İstanbul", "istanbul"),
        ("Łódź", "lodz"),
        ("ﬁnal", "final"),
        ("\uff26\uff55\uff4c\uff4c\uff11", "full1"),
        ("ｶﾞ", "ガ"),
        ("か\u3099", "が"),
        ("한국", "한국"),
        ("שָׁלוֹם", "שלום"),
        ("soft\u00adhyphen", "softhyphen"),
        ("👍🏽", "👍"),
    ],
)
def test_different_spellings_of_a_text_have_one_normal_form(text: str, normal: str) -> None:
    assert normalize(text) == normal


@given(st.text())
def test_normal_form_does_not_depend_on_the_unicode_normalization_of_the_text(text: str) -> None:
    forms = {normalize(unicodedata.normalize(form, text)) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    assert len(forms) == 1


@pytest.mark.parametrize("text", ["a" + "\u0315\u0300" * 50_000, "\ufdfa" * 100_000], ids=["marks", "long forms"])
def test_a_text_that_is_made_to_take_long_is_indexed_in_bounded_time(text: str) -> None:
    started = time.process_time()
    terms = document_terms(text, is_title=False)
    assert time.process_time() - started < 1
    assert terms.words


@given(st.text())
def test_offsets_cover_the_text_in_order(text: str) -> None:
    normalized, offsets = normalize_with_offsets(text)
    assert len(normalized) == len(offsets)
    assert all(0 <= start < end <= len(text) for start, end in offsets)
    assert offsets == sorted(offsets)


@pytest.mark.parametrize(
    "text", ["Der Straßenbahn-Fahrer fährt", "東京大学は学校です", "สวัสดีครับ ทุกคน", "नमस्ते दुनिया", "한국어 텍스트"]
)
def test_normal_form_with_offsets_is_the_normal_form(text: str) -> None:
    assert normalize_with_offsets(text)[0] == normalize(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("it's 50%_off", ["it", "s", "50", "%", "_", "off"]),
        ("iphone手机!", ["iphone", "手机"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("สวัสดี", ["สวัสดี"]),
        ("c++ 😀 — …", ["c", "+", "+", "😀"]),
        ("", []),
    ],
)
def test_tokens_are_words_runs_and_symbols(text: str, tokens: list[str]) -> None:
    assert [token.text for token in tokenize(text)] == tokens


def test_runs_of_unspaced_scripts_are_indexed_by_pairs_of_characters() -> None:
    assert dict(document_terms("东京大学", is_title=False).words) == {"东京": [1], "京大": [2], "大学": [3], "学": [4]}


def test_ends_of_long_words_are_indexed() -> None:
    parts = document_terms("Krankenversicherung kurz", is_title=False).parts
    assert "versicherung" in parts
    assert "kurz" not in parts
    assert not document_terms("0123456789abcdef0123456789abcdef", is_title=False).parts


def test_prefixes_of_chunks_are_different_and_none_begins_with_another_one() -> None:
    prefixes = {lexeme_prefix(user, chunk) + "/" for user in range(100) for chunk in range(100)}
    assert len(prefixes) == 10_000
    ordered = sorted(prefixes)
    assert not any(second.startswith(first) for first, second in pairwise(ordered))
    assert CHUNK_SIZE == 4096  # stored vectors contain the chunk: a change requires indexing everything anew


@pytest.mark.parametrize("wrong", ["sstem", "sysstem", "sistem", "ssytem", "systm", "systema"])
def test_words_with_one_wrong_letter_are_variants_of_each_other(wrong: str) -> None:
    assert wrong in spelling_variants("system")
    assert "system" in spelling_variants(wrong)


@pytest.mark.parametrize("word", ["abc", "x" * 25, "2026", "a1b2c3", ""])
def test_short_long_and_numeric_words_have_no_variants(word: str) -> None:
    assert not spelling_variants(word)


@given(st.text(min_size=4, max_size=24))
def test_number_of_variants_is_bounded(word: str) -> None:
    variants = spelling_variants(normalize(word))
    assert len(variants) <= 75 * 25 + 50
    assert normalize(word) not in variants
