"""Queries and documents, compared by PostgreSQL."""

import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.services.search.correction import Correction, correctable_units
from app.services.search.documents import document_terms, lexeme_prefix
from app.services.search.query import MAX_UNITS, SearchQuery, SearchScope, parse_query
from tests.fixtures.database import Sql

PREFIX = lexeme_prefix(1, 0)
Matches = Callable[..., bool]
_PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=100)


@pytest.fixture
def matches(database: Sql) -> Matches:
    """Function that returns whether a text matches a query."""

    def match(text: str, query: str, *, scope: SearchScope = "both", is_title: bool = False) -> bool:
        parsed = parse_query(query)
        if not parsed.units:
            return False
        terms = document_terms(text, is_title=is_title).render(PREFIX)
        widest = parsed.ranked(PREFIX, scope)[-1][0]
        return bool(database.value("SELECT %s::tsvector @@ %s::tsquery", [terms, widest]))

    return match


def corrected(database: Sql, text: str, query: str) -> bool:
    terms = document_terms(text, is_title=False).render(PREFIX)

    def matches(query: str) -> bool:
        return bool(database.value("SELECT %s::tsvector @@ %s::tsquery", [terms, query]))

    parsed = parse_query(query)
    operands = parsed.operands(PREFIX)
    absent = {unit for unit in correctable_units(parsed) if not matches(operands[unit])}
    correction = Correction.of(parsed, absent)
    if correction is None:
        return False
    found = [group for group in correction.groups(PREFIX) if matches(group.query)]
    return any(matches(each) for each, _ in correction.queries(PREFIX, "both", found=found, absent=absent))


def correction_queries(query: SearchQuery, scope: SearchScope) -> list[str]:
    """Return the queries of a correction, as if all its spelling variants occurred."""
    correction = Correction.of(query, set())
    if correction is None:
        return []
    groups = correction.groups(PREFIX)
    return [each for each, _ in correction.queries(PREFIX, scope, found=groups, absent=set())]


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Rome in May", "rome", True),
        ("Rome in May", "may rome", True),
        ("Rome in May", "rome june", False),
        ("Rome in May", "ro", True),  # the last word may be incomplete at any length
        ("Rome in May", "ro may", False),
        ("Rome in May", "rom may", True),
        ("Rome in May", "ome", False),
        ("Rome in May", '"rome in"', True),
        ("Rome in May", '"rome may"', False),
        ("Rome in May", '"rom"', False),
        ("Rome in May", '"', False),
        ("Rome in May", '"rome', True),
        ("50%_off", "50%_off", True),
        ("50 off", "50%_off", False),
        ("100% sure", "%", True),
        ("100 sure", "%", False),
        ("a\\b", "\\", True),
        ("**bold** word", '"bold word"', True),
        ("foo-bar", "foo-bar", True),
        ("foo or bar", "foo-bar", False),
        ("foo & bar", "foo & bar", True),
        ("foo bar", "foo | baz", False),
        ("foo", "!foo", True),  # punctuation is not indexed
        ("l'avion d'été", "avion ete", True),
        ("Krankenversicherung", "versicherung", True),
        ("Krankenversicherungen", "versicherung", True),
        ("Krankenversicherung", "kranken", True),
        ("我在东京大学学习", "东京大学", True),
        ("我在东京大学学习", "东大", False),
        ("我在东京大学学习", "习", True),
        ("我在东京大学学习", "学习 东京", True),
        ("データベースを使う", "ベース", True),
        ("สวัสดีครับทุกคน", "ทุกคน", True),
        ("안녕하세요 여러분", "하세요", True),
        ("Привет, мир", "привет", True),
        ("Ёлка", "елка", True),
        ("مرحبا بالعالم", "مَرحبا", True),
        ("iPhone手机", "iphone手机", True),
        ("iPhone 手机", "手机", True),
        ("😀 fun", "😀", True),
        ("x", "", False),
        ("x", "...", False),
    ],
)
def test_texts_match_queries_of_every_script(matches: Matches, text: str, query: str, expected: bool) -> None:  # noqa: FBT001
    assert matches(text, query) is expected


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Our system", "sistem"),
        ("Our sistem", "system"),
        ("Система", "систма"),
        ("Our system is broken", "sistem borken"),
        ("Our system is broken", "our sistem is borken"),
        ("The database backup of the production cluster failed", "databse backp prodction clustr faild"),
        ("Improve the performance of the index in postgresql", "improve performance indx postgresql th"),
        ("Improve the performance of this index of documents", "improve performance documents indx"),
        ("a form from the office", "a from form the ofice"),
        ("Система базы данных", "систма базыы"),
    ],
)
def test_wrong_letters_are_corrected(database: Sql, matches: Matches, text: str, query: str) -> None:
    assert not matches(text, query)
    assert corrected(database, text, query)


def test_one_word_of_several_is_corrected_at_least(database: Sql) -> None:
    assert not corrected(database, "system and sistem is broken and borken", "system broken")
    assert not corrected(database, "sistem", "system borken")
    assert not corrected(database, "sistem", "system xy")


def test_number_of_combinations_is_limited() -> None:
    query = parse_query("abcdefghij klmnopqrst uvwxyzabcd efghijklmn opqrstuvwx yzabcdefgh")
    assert correction_queries(query, "both") == correction_queries(query, "both")[:64]
    assert Correction.of(query, set(range(6))) is None


def test_two_wrong_letters_are_not_corrected(database: Sql) -> None:
    assert not corrected(database, "system", "sostom")


def test_corrected_queries_exclude_what_the_words_match(database: Sql) -> None:
    assert not corrected(database, "system and sistem", "system")


@pytest.mark.parametrize(
    ("scope", "is_title", "expected"),
    [("titles", True, True), ("titles", False, False), ("messages", True, False), ("messages", False, True)],
)
def test_scope_selects_titles_or_messages(
    matches: Matches,
    scope: SearchScope,
    is_title: bool,  # noqa: FBT001
    expected: bool,  # noqa: FBT001
) -> None:
    assert matches("Rome", "rome", scope=scope, is_title=is_title) is expected


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=_PLAIN, query=_PLAIN)
def test_no_text_and_no_query_is_an_error(database: Sql, text: str, query: str) -> None:
    terms = document_terms(text, is_title=True).render(PREFIX)
    assert database.value("SELECT %s::tsvector IS NOT NULL", [terms])
    parsed = parse_query(query)
    for scope in ("titles", "messages", "both"):
        for each, _ in parsed.ranked(PREFIX, scope) if parsed.units else []:
            database.value("SELECT %s::tsvector @@ %s::tsquery", [terms, each])
        for each in correction_queries(parsed, scope)[:20]:
            database.value("SELECT %s::tsvector @@ %s::tsquery", [terms, each])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_PLAIN)
def test_every_text_is_found_by_itself(matches: Matches, text: str) -> None:
    if parse_query(text).units:
        assert matches(text, text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=_PLAIN)
def test_every_lexeme_of_a_query_has_the_prefix_of_its_chunk(database: Sql, query: str) -> None:
    parsed = parse_query(query)
    queries = [each for each, _ in parsed.ranked(PREFIX, "both")] if parsed.units else []
    for each in [*queries, *correction_queries(parsed, "both")[:20]]:
        lexemes = re.findall(r"'((?:[^']|'')*)'", database.value("SELECT %s::tsquery::text", [each]))
        assert lexemes
        assert all(re.match(rf"{re.escape(PREFIX)}[/~!]", lexeme) for lexeme in lexemes)


@pytest.mark.parametrize(
    "text",
    [
        "word " * 50_000,
        " ".join(map(str, range(40_000))),
        "東京" * 60_000,
        " ".join(f"donaudampfschifffahrt{'x' * (number % 40)}{number}" for number in range(5000)),
        "\U0001f600" * 100_000,
        "x" * 200_000,
        "'\\" * 50_000,
    ],
)
def test_long_texts_stay_within_the_limits_of_postgresql(database: Sql, text: str) -> None:
    terms = document_terms(text, is_title=False).render(PREFIX)
    assert database.value("SELECT pg_column_size(%s::tsvector) < 1000000", [terms])


def test_number_of_words_of_a_query_is_limited() -> None:
    assert len(parse_query("a " * 100).units) == MAX_UNITS
