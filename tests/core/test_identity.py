"""Canonical forms of email addresses and user names."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.identity import canonical_email, canonical_login, canonical_username, has_ambiguous_letters

SAME = [
    [
        "ada@example.com",
        "ADA@Example.COM",
        " ada@example.com\n",
        "\u202aada@example.com\u202c",
        "ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ",
    ],
    ["info@bücher.example", "INFO@BÜCHER.example", "info@xn--bcher-kva.example", "info@bu\u0308cher.example"],
    ["jos\u00e9@example.com", "jose\u0301@example.com", "JOSÉ@example.com"],
    ["kate@example.com", "\u212aate@example.com"],
    ["ανδρεας@example.gr", "ΑΝΔΡΕΑΣ@EXAMPLE.GR"],
    ["wei\u00df@example.com", "WEI\u1e9e@example.com"],
    ["ada@localhost", "ADA@LOCALHOST"],
    # Letters without a composed form in upper case.
    ["to\u1e97@example.com", "TOT\u0308@example.com", "tot\u0308@example.com"],
    ["ma\u0390a@example.gr", "MA\u03aa\u0301A@example.gr", "Ma\u0399\u0308\u0301a@example.gr"],
]
DIFFERENT = [
    ("n\u0130na@example.com", "nina@example.com"),
    ("n\u0131na@example.com", "nina@example.com"),
    ("ni\u0307na@example.com", "nina@example.com"),
    ("stra\u00dfe@example.com", "strasse@example.com"),
    ("info@stra\u00dfe.example", "info@strasse.example"),
    ("a.da@example.com", "ada@example.com"),
    ("ada+x@example.com", "ada@example.com"),
    ("\u0430da@example.com", "ada@example.com"),  # a letter of the Cyrillic script
]


@pytest.mark.parametrize("spellings", SAME)
def test_spellings_of_an_address_have_the_same_form(spellings: list[str]) -> None:
    assert len({canonical_email(spelling) for spelling in spellings}) == 1
    assert len({canonical_login(spelling) for spelling in spellings}) == 1


@pytest.mark.parametrize(("address", "other"), DIFFERENT)
def test_different_mailboxes_have_different_forms(address: str, other: str) -> None:
    assert canonical_email(address) != canonical_email(other)


@given(st.text(max_size=40), st.text(max_size=40))
def test_every_text_has_a_form_which_is_its_own_form(local: str, domain: str) -> None:
    for text in (local, f"{local}@{domain}"):
        assert canonical_login(canonical_login(text)) == canonical_login(text)


@pytest.mark.parametrize("name", ["Ada.Lovelace_1", "  ada.lovelace_1 ", "ＡＤＡ.lovelace_1"])
def test_user_names_are_compared_without_case_and_width(name: str) -> None:
    assert canonical_username(name) == canonical_login(name) == "ada.lovelace_1"


def test_letters_are_ambiguous_if_their_cases_do_not_map_to_each_other() -> None:
    for number in (*range(0xD800), *range(0xE000, 0x20000)):
        letter = chr(number)
        if unicodedata.normalize("NFKC", letter) == letter and len(letter.upper()) == 1:
            forms = {canonical_email(f"{form}@x") for form in (letter, letter.upper(), letter.lower())}
            assert (len(forms) > 1) is has_ambiguous_letters(letter), hex(number)
