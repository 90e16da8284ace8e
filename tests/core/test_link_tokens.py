"""Tokens of the links to shared conversations."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.link_tokens import LinkTokens

TOKENS = LinkTokens.from_secret("k" * 32, "share tokens")
TOKEN = TOKENS.issue(UUID(int=1))


@given(st.uuids())
def test_token_names_its_share(share: UUID) -> None:
    token = TOKENS.issue(share)
    assert TOKENS.verify(token) == share
    assert len(token) == 64
    assert token.replace("-", "").replace("_", "").isalnum()


def test_tokens_of_another_key_are_refused() -> None:
    with pytest.raises(ValueError, match="this key"):
        LinkTokens.from_secret("l" * 32, "share tokens").verify(TOKEN)


@pytest.mark.parametrize("position", range(64))
def test_edited_token_is_refused(position: int) -> None:
    for replacement in "A_-9+/=":
        edited = TOKEN[:position] + replacement + TOKEN[position + 1 :]
        if edited != TOKEN:
            with pytest.raises(ValueError, match="not "):
                TOKENS.verify(edited)


@given(st.text() | st.text(alphabet="AZaz09-_+/= \n", min_size=62, max_size=66) | st.sampled_from([TOKEN[:-1], TOKEN]))
def test_any_other_text_is_refused(text: str) -> None:
    for token in (text, f"{text}=", f" {text}"):
        if token != TOKEN:
            with pytest.raises(ValueError, match="not "):
                TOKENS.verify(token)


def test_tokens_of_swapped_parts_are_refused() -> None:
    other = TOKENS.issue(uuid4())
    with pytest.raises(ValueError, match="this key"):
        TOKENS.verify(TOKEN[:20] + other[20:])
