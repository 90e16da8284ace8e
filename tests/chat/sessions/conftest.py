"""Fixtures of the tests of sessions."""

import pytest

from tests.support.provider import Provider, answers


@pytest.fixture
def numbered(provider: Provider) -> Provider:
    """A model that answers A1, A2, ..."""
    provider.script(*(answers(f"A{number}") for number in range(1, 20)))
    return provider
