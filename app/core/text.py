"""Text of users: blank text, and the form in which texts are compared."""

import re
import unicodedata
from typing import Final, Literal

# White space, control characters (Cc) and format characters (Cf) of Unicode 17. Fixed, because the tables of Python
# depend on its version: they contain no character that is newer, such as the latest emoji.
_BLANK_CHARACTERS = (
    "\x00-\x20\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f"
    "\u205f-\u2064\u2066-\u206f\u3000\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
_BLANK = re.compile(f"[{_BLANK_CHARACTERS}]*")
_BLANK_ENDS = re.compile(rf"\A[{_BLANK_CHARACTERS}]+|(?<![{_BLANK_CHARACTERS}])[{_BLANK_CHARACTERS}]+\Z")


MAX_MARKS: Final = 30
"""Number of combining marks in a row that are compared. No language has as many (UAX 15, Stream-Safe Text Format)."""


def _combining_marks() -> str:
    # Also those that are marks only in their compatible form, such as U+FF9E. No mark has a higher number.
    characters = map(chr, range(0x0300, 0x1F000))
    return "".join(each for each in characters if unicodedata.combining(unicodedata.normalize("NFKD", each)[0]))


_MARK = f"[{_combining_marks()}]"
_LONG_RUN = re.compile(f"({_MARK}{{{MAX_MARKS}}}){_MARK}+")


def is_blank(text: str) -> bool:
    """Return whether a text consists of white space, control characters and format characters only."""
    return _BLANK.fullmatch(text) is not None


def strip_blank(text: str) -> str:
    """Return a text without such characters at its ends. Copied text may have them."""
    return _BLANK_ENDS.sub("", text)


def normal_form(form: Literal["NFD", "NFKC", "NFKD"], text: str) -> str:
    """Return a normal form of a text of any length, for comparison. Of many marks in a row, it has the first ones.

    To sort marks takes quadratic time, in which other threads do not run either: 40 s for 200 000 of them.
    """
    return text if text.isascii() else unicodedata.normalize(form, _LONG_RUN.sub(r"\1", text))


def fold(text: str) -> str:
    """Return the form in which a text is compared: compatible characters unified, case folded, and composed.

    Texts are equal for a reader if their forms are equal: `STRASSE` and `straße`, both spellings of `é`, full width.
    Source: compatibility caseless matching, Unicode Standard, section 3.13, definition D146.
    """
    if text.isascii():
        return text.lower()
    folded = normal_form("NFKD", normal_form("NFD", text).casefold())
    return normal_form("NFKC", folded.casefold())
