import pytest

from tests.fixtures.services import Chat
from tests.support.provider import Provider, answers


@pytest.fixture
def session(chat: Chat, provider: Provider) -> str:
    """A session of Ada with one turn, titled Plans."""
    provider.always(answers("Hello."))
    session = chat.open(title="Plans", context={"system_prompt": "canary7f3a"})
    chat.ask(session, "Hi", context={"secret": "canary7f3a"})
    return session
