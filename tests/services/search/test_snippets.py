"""Snippets of search results."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.search.query import parse_query
from app.services.search.snippets import SNIPPET_LENGTH, build_snippet


def marked(text: str, query: str, *, is_corrected: bool = False) -> str:
    """Return the snippet with brackets around its matches."""
    parts = build_snippet(text, parse_query(query), is_corrected=is_corrected)
    return "".join(f"[{part.text}]" if part.is_match else part.text for part in parts)


@pytest.mark.parametrize(
    ("text", "query", "snippet"),
    [
        ("The École is old.", "ecole", "The [École] is old."),
        ("The e\u0301cole is old.", "ÉCOLE", "The [e\u0301cole] is old."),
        ("Plans and planning", "plan", "[Plan]s and [plan]ning"),
        ("Die Krankenversicherung", "versicherung", "Die Kranken[versicherung]"),
        ("我在东京大学学习", "东京大学", "我在[东京大学]学习"),
        ("我在东京大学学习", "学", "我在东京大[学][学]习"),
        ("one two, two one", '"two one"', "one two, [two] [one]"),
        ("re-open and re open or reopen", "re-open", "[re]-[open] and [re] [open] or reopen"),
        ("100% of snake_case", "% _", "100[%] of snake[_]case"),
        ("<b>bold</b>", "bold", "<b>[bold]</b>"),
        ("line one\n\n  line two", "two", "line one line [two]"),
        ("nothing here", "absent", "nothing here"),
        ("Straße", "strass", "[Straß]e"),
    ],
)
def test_matches_are_marked_in_the_original_text(text: str, query: str, snippet: str) -> None:
    assert marked(text, query) == snippet


def test_spelling_variants_are_marked_only_in_corrected_results() -> None:
    assert marked("our system", "sistem", is_corrected=True) == "our [system]"
    assert marked("our system", "sistem") == "our system"


def test_snippet_of_a_long_text_is_around_the_match_and_cut_at_spaces() -> None:
    text = "before " * 1000 + "needle " + "after " * 1000
    snippet = marked(text, "needle")
    assert snippet.startswith("…before ")
    assert snippet.endswith("after…")
    assert "[needle]" in snippet
    assert len(snippet) <= SNIPPET_LENGTH + 4


def test_snippet_shows_the_place_with_the_most_words_of_the_query() -> None:
    text = "alpha " + "x " * 800 + "beta alpha gamma " + "x " * 800
    assert "[beta] [alpha] [gamma]" in marked(text, "alpha beta gamma")


@given(st.text(max_size=3000), st.text(max_size=50), st.booleans())
def test_any_text_and_query_give_a_bounded_snippet_of_the_text(text: str, query: str, is_corrected: bool) -> None:  # noqa: FBT001 - generated
    parts = build_snippet(text, parse_query(query), is_corrected=is_corrected)
    shown = "".join(part.text for part in parts).removeprefix("…").removesuffix("…")
    assert len(shown) <= SNIPPET_LENGTH
    assert " ".join(shown.split()) in " ".join(text.split()) or "…" in text
    assert all(part.text for part in parts)
