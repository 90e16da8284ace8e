"""Texts of automatic titles."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.titles.title_text import MAX_TITLE_LENGTH, title_from_model, title_from_question
from app.core.text import is_blank

LONG_WORDS = "What is the difference between a process and a thread, and when should I use which of them?"


def is_visible(text: str) -> bool:
    return not is_blank(text)


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("Hi", "Hi"),
        ("  Where is it\n\n\twarm?  ", "Where is it warm?"),
        (LONG_WORDS, "What is the difference between a process and a thread, and when should I use…"),
        ("word " * 15 + "wo, and more", "word " * 15 + "wo…"),  # no comma before the ellipsis
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
        ("word " * 16, ("word " * 16).strip()),
        ("a " + "x" * 200, "a " + "x" * 77 + "…"),
        # Markup is removed, other uses of its characters are not.
        ("# Plan\n- **Rome** and _Milan_ with [a map](https://example.com)", "Plan Rome and Milan with a map"),
        ("```python\nprint(1)\n```\nWhy?", "print(1) Why?"),
        ("<p>Hello<br/>you</p>", "Hello you"),
        (
            "Is 2**10 > 1000 and what is my_own_name in List<String>?",
            "Is 2**10 > 1000 and what is my_own_name in List<String>?",
        ),
        ("What does `ls -l` do?", "What does ls -l do?"),
        ("2. Weltkrieg: wann?", "2. Weltkrieg: wann?"),
        ("\u202egnitset\u200b\x07", "gnitset"),
        # A question that consists of markup is its own title.
        ("```", "```"),
        ("**", "**"),
        # Scripts without spaces: neither punctuation at the beginning of a line nor a divided loanword.
        ("日本語の文章を" * 12, ("日本語の文章を" * 12)[:79] + "…"),
        ("漢" * 77 + "コンピュータは", "漢" * 77 + "…"),
        ("漢" * 78 + "字。次", "漢" * 78 + "…"),
        ("안녕하세요 여러분 " * 10, ("안녕하세요 여러분 " * 8)[:79].rstrip() + "…"),
    ],
)
def test_title_is_the_beginning_of_the_question(question: str, title: str) -> None:
    assert title_from_question(question) == title


@pytest.mark.parametrize("unit", ["👨‍👩‍👧‍👦", "👍🏽", "🇩🇪", "é", "สำ", "क्षि", "각"])
def test_characters_are_not_divided(unit: str) -> None:
    for shift in range(len(unit) + 1):
        title = title_from_question("x" * shift + unit * 80)
        assert title is not None
        body = title.removesuffix("…")[shift:]
        assert body == unit * (len(body) // len(unit))
        assert len(title) > MAX_TITLE_LENGTH - 2 * len(unit)


@pytest.mark.parametrize("question", ["\u200d" * 100 + "a", "\u200b", "\u200d"])
def test_question_without_visible_beginning_gives_no_title(question: str) -> None:
    assert title_from_question(question) is None


MARKUP = st.lists(
    st.sampled_from(["`", "*", "_", "#", "<", ">", "[", "](", ")", "\n", " ", "a", "、", "漢", "\u200d", "👍🏽"])
)


@given(st.one_of(st.text(max_size=300), MARKUP.map("".join)))
def test_title_is_one_short_visible_line(question: str) -> None:
    title = title_from_question(question)
    if title is not None:
        assert 0 < len(title) <= MAX_TITLE_LENGTH
        assert is_visible(title)
        assert title == " ".join(title.split())
    elif is_visible(question[:MAX_TITLE_LENGTH]):
        pytest.fail("a question whose beginning is visible has a title")


@pytest.mark.parametrize(
    "question", ["[" * 2000, "*a" * 1000, "<a " * 700, "- " * 1000, "_" * 2000, "`" * 2000, "![a" * 700]
)
def test_time_of_hostile_markup_is_bounded(question: str) -> None:
    started = time.process_time()
    title_from_question(question)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("Distance to the Moon", "Distance to the Moon"),
        ('"Distance to the Moon."\n', "Distance to the Moon"),
        ("Title: **Distance to the Moon**", "Distance to the Moon"),
        ("タイトル：「月までの距離」", "月までの距離"),
        ("Here is a title:\n\n# Moon", "Moon"),
        ("<think>The user asks\nabout the moon.</think>\n\nMoon", "Moon"),
        ("The user asks about the moon.</think>Moon", "Moon"),
        ("Moon\nIt is a title because it is short.", "Moon"),
        ("How far is the moon?", "How far is the moon?"),
        ("And so on...", "And so on..."),
        ("«Луна»", "Луна"),
    ],
)
def test_title_of_a_model_is_cleaned(answer: str, title: str) -> None:
    assert title_from_model(answer) == title


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n ",
        "...",
        "Title:",
        '""',
        "—",
        "🌍",
        "x" * 81,
        "This conversation is about the moon and how far away it is from the earth, among other things.",
        "<think>The user asks about the moon",
        "User: How far is the moon?",
        "Mo\ufffdn",
    ],
)
def test_unusable_titles_of_a_model_are_rejected(answer: str) -> None:
    assert title_from_model(answer) is None


@given(st.text(max_size=400))
def test_title_of_a_model_is_one_short_line_with_a_letter_or_digit(answer: str) -> None:
    title = title_from_model(answer)
    if title is not None:
        assert len(title) <= MAX_TITLE_LENGTH
        assert title == " ".join(title.split())
        assert any(character.isalnum() for character in title)
