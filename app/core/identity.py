"""Canonical forms of email addresses and user names. Two spellings are the same account if their forms are equal.

All comparisons use these functions. PostgreSQL's `lower()` depends on the locale of the database.
"""

import unicodedata

import idna

from app.core.text import fold, strip_blank

MAX_CANONICAL_EMAIL_LENGTH = 320
"""Maximum length of the canonical form of a valid address. A domain is longer in ASCII."""

# The only letters whose upper and lower case forms do not map to each other: the mapping depends on the language.
_AMBIGUOUS_LETTERS = frozenset("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}\N{LATIN SMALL LETTER DOTLESS I}")


def canonical_email(address: str) -> str:
    """Return the canonical form of an email address, or of any other text.

    Compatible characters are unified (NFKC), the domain is in ASCII (UTS 46), and letters are in lower case. Letters
    become other ones only by simple case folding, one by one: mail systems treat `ß` and `ss` as different mailboxes.
    They are composed once more, because some letters, such as `ẗ`, have no composed form in upper case.
    """
    local, _, domain = unify(address).rpartition("@")
    folded = unicodedata.normalize("NFKC", "".join(map(_fold_letter, local)))
    return f"{folded}@{_ascii_domain(domain)}"


def canonical_username(name: str) -> str:
    """Return the canonical form of a user name. User names are ASCII, entered ones may be in full width."""
    return strip_blank(fold(name))


def canonical_login(name: str) -> str:
    """Return the canonical form of an email address or user name, as entered at a login."""
    return canonical_email(name) if is_address(name) else canonical_username(name)


def is_address(login: str) -> bool:
    """Return whether a text that was entered at a login is an email address. User names contain no `@`."""
    return "@" in unify(login)


def unify(text: str) -> str:
    """Return a text with compatible characters unified (NFKC), without white space at its ends."""
    return strip_blank(unicodedata.normalize("NFKC", text))


def has_ambiguous_letters(text: str) -> bool:
    """Return whether a text has letters that some systems treat as another letter when they ignore the case.

    These are two letters of Turkish: depending on the locale, `nİna` is `nina` in lower case.
    """
    return not _AMBIGUOUS_LETTERS.isdisjoint(text)


def _fold_letter(letter: str) -> str:
    return next((form for form in (letter.casefold(), letter.lower()) if len(form) == 1), letter)


def _ascii_domain(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode()
    except UnicodeError:  # `idna.IDNAError` is one: not a valid domain
        return fold(domain)
