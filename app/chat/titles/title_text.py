"""Texts of automatic titles: shortened questions, and the cleaned answers of a model.

A title is one line of plain text with a visible character, at most `MAX_TITLE_LENGTH` characters long.
"""

import re
import unicodedata
from typing import Final

from app.core.text import is_blank

MAX_TITLE_LENGTH = 80
"""Maximum length of an automatic title in characters, including the ellipsis."""

_MAX_READ = 500
"""Characters of a text that are read."""
_ELLIPSIS = "…"
_MARKUP: Final = (
    # Fences of code blocks, marks of headings, lists and quotations.
    (re.compile(r"^[ \t]*(?:`{3,}|~{3,})[^\n`]*$", re.MULTILINE), " "),
    (re.compile(r"^[ \t]*(?:(?:#{1,6}|[-*+>])[ \t]+)+", re.MULTILINE), ""),
    # Links and images: their text.
    (re.compile(r"!?\[([^\[\]\n]{1,300})\]\([^()\s]{0,500}\)"), r"\1"),
    # Emphasis, but neither `2**10` nor `snake_case`.
    (re.compile(r"(?<![\w*])\*{1,3}(?=\S)([^*\n]{1,300})(?<=\S)\*{1,3}(?![\w*])"), r"\1"),
    (re.compile(r"(?<![\w_])_{1,3}(?=\S)([^_\n]{1,300})(?<=\S)_{1,3}(?![\w_])"), r"\1"),
    (re.compile(r"`+"), ""),
    (
        re.compile(
            r"</?(?:a|b|blockquote|body|br|code|div|em|h[1-6]|hr|html|i|iframe|img|li|ol|p|pre|s|script|span|strong|"
            r"style|svg|table|td|th|tr|u|ul)(?:[\s/][^<>]{0,500})?>",
            re.IGNORECASE,
        ),
        " ",
    ),
)
# Control characters except white space, marks of direction, and characters without width. Joiners are kept: they are
# part of words and emoji.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_SEPARATORS = " ,;:-–—·|/、，；：・"
"""Characters that do not stand before the ellipsis."""
_JOINERS = "\u200c\u200d"
_IDEOGRAPHIC = re.compile("[々〇〻\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Characters of scripts that are written without spaces, in which most words have one or two characters."""
_KATAKANA = re.compile("[\u30a1-\u30ff]")
_NOT_FIRST = "ぁぃぅぇぉっゃゅょゎゝゞー々、。，．！？；：）」』】〉》〕］｝"
"""Characters that do not begin a line in Chinese and Japanese."""
_NOT_LAST = "（「『【〈《〔［｛"
_VIRAMA = 9
"""Canonical combining class of signs that join two consonants."""
_LEADING_VOWELS = re.compile("[\u0e40-\u0e44\u0ec0-\u0ec4]")
_ATTACHED = re.compile("[\u0e33\u0eb3\u1160-\u11ff\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]")
"""Characters that belong to the one before them, although they are no combining marks."""
_REGIONAL = re.compile("[\U0001f1e6-\U0001f1ff]")

_REASONING = re.compile(r"<(/?)(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_LABEL = re.compile(
    r"^(?:(?:the |chat )?title|titel|titre|titolo|t[ií]tulo|заголовок|标题|標題|タイトル|제목)\s*[:：]\s*",
    re.IGNORECASE,
)
_ROLE = re.compile(r"^(?:user|assistant|system)\s*:", re.IGNORECASE)
_QUOTES = " \t\"'`*_#“”„‟‘’‚«»‹›「」『』《》〈〉"


def title_from_question(question: str) -> str | None:
    """Return a title for a conversation that begins with a question. None: it has no visible character.

    Markup is removed and white space collapsed. A long text is cut between two words.
    """
    text = question[:_MAX_READ]
    for candidate in (_plain_line(text), _collapse(text)):
        title = _shorten(candidate)
        if not is_blank(title):
            return title
    return None


def title_from_model(answer: str) -> str | None:
    """Return the title in an answer of a model. None: there is none that a reader could use."""
    text = _without_reasoning(answer)
    # Small models introduce a title with a line such as "Here is a title:".
    lines = (line for part in text[:_MAX_READ].splitlines() if (line := _plain_line(part)))
    line = next((line for line in lines if not line.endswith((":", "："))), "")
    title = _LABEL.sub("", line.strip(_QUOTES)).strip(_QUOTES)
    if title.endswith((".", "。")) and not title.endswith(".."):
        title = title[:-1].rstrip()
    is_usable = (
        len(title) <= MAX_TITLE_LENGTH
        and any(character.isalnum() for character in title)
        and "\ufffd" not in title
        and not _ROLE.match(title)
    )
    return title if is_usable else None


def _without_reasoning(answer: str) -> str:
    """Return the text after the reasoning of a model; empty if the reasoning has no end."""
    marks = list(_REASONING.finditer(answer))
    if not marks:
        return answer
    return answer[marks[-1].end() :] if marks[-1][1] else answer[: marks[0].start()]


def _plain_line(text: str) -> str:
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return _collapse(text)


def _collapse(text: str) -> str:
    return " ".join(_INVISIBLE.sub("", text).split())


def _shorten(text: str) -> str:
    """Return the beginning of a text, with an ellipsis if it is cut; empty if a reader would see nothing else."""
    if len(text) <= MAX_TITLE_LENGTH:
        return text
    longest = MAX_TITLE_LENGTH - len(_ELLIPSIS)
    # A word that fills more than half of the title is cut itself.
    positions = range(longest, longest // 2, -1)
    end = next((position for position in positions if _is_between_words(text, position)), None)
    if end is None:
        end = next((position for position in range(longest, 0, -1) if _is_between_characters(text, position)), longest)
    beginning = text[:end].rstrip(_SEPARATORS)
    return beginning + _ELLIPSIS if not is_blank(beginning) else ""


def _is_between_words(text: str, position: int) -> bool:
    before, after = text[position - 1], text[position]
    if after == " ":
        return True
    if not (_IDEOGRAPHIC.match(before) or _IDEOGRAPHIC.match(after)):
        return False
    if after in _NOT_FIRST or before in _NOT_LAST or (_KATAKANA.match(before) and _KATAKANA.match(after)):
        return False
    return _is_between_characters(text, position)


def _is_between_characters(text: str, position: int) -> bool:
    """Return whether a reader sees the characters before and after a position as two."""
    before, after = text[position - 1], text[position]
    if after in _JOINERS or before in _JOINERS or unicodedata.combining(before) == _VIRAMA:
        return False
    if unicodedata.category(after).startswith("M") or _ATTACHED.match(after) or _LEADING_VOWELS.match(before):
        return False
    if _REGIONAL.match(before) and _REGIONAL.match(after):  # flags consist of two
        flags = len(text[:position]) - len(text[:position].rstrip("".join(map(chr, range(0x1F1E6, 0x1F200)))))
        return flags % 2 == 0
    return True
