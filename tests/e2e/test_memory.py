"""A conversation that the real small model cannot look at as a whole."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import main
from app.config import Settings
from local.model import MODEL_NAME
from local.stack import Stack
from tests.e2e.conftest import Visitor
from tests.fixtures.database import Sql
from tests.fixtures.services import CHAT

pytestmark = pytest.mark.e2e

FACTS = (
    ("My dog is called Rex.", "What is my dog called?", "Rex"),
    ("My cat is named Luna.", "What is the name of my cat?", "Luna"),
)
SMALL_TALK = (
    "What is rain?",
    "How do I make tea?",
    "What is the moon?",
    "What is bread made of?",
    "What is a bicycle?",
)


@pytest.fixture
def forgetful(stack: Stack) -> Iterator[TestClient]:
    """The chat service on the stack's own parts, which believes that the model can look at a few messages only."""
    small = {
        "LLM_MODELS": f'[{{"name": "{MODEL_NAME}", "context_window": 480}}]',
        "LLM_MAX_TOKENS": "24",
        "SHUTDOWN_GRACE": "5",
    }
    given = {name: value for name, value in stack.settings.items() if name in Settings.model_fields}
    with TestClient(main.create(Settings(_env_file=None, **(given | small)))) as service:  # type: ignore[arg-type]
        yield service


class Talk:
    """A session at that service."""

    def __init__(self, service: TestClient, visitor: Visitor, database: Sql) -> None:
        self._service = service
        self._headers = {"Authorization": visitor.client.headers["Authorization"]}
        self._database = database
        self.session = self._post("/sessions", {})["session_id"]

    def say(self, message: str) -> dict[str, Any]:
        answer = self._post(f"/sessions/{self.session}/messages", {"message": message})["ai_response"]
        return dict(answer)

    def notes(self) -> str:
        """Return the notes that the model takes, once it has taken them."""
        statement = (
            "SELECT CASE WHEN summary_lease_expires_at IS NULL THEN summary END FROM chat_sessions WHERE uuid = %s"
        )
        deadline = time.monotonic() + 60
        while not (notes := self._database.value(statement, [self.session])):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return str(notes)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._service.post(f"{CHAT}{path}", json=body, headers=self._headers)
        assert response.is_success, response.text
        return dict(response.json())


def test_a_fact_of_the_first_message_is_known_long_after_that_has_left_the_window(
    stack: Stack, forgetful: TestClient, make_visitor: Callable[[str], Visitor]
) -> None:
    database = Sql(stack.settings["DATABASE_URL"])
    owner = make_visitor("owner")
    # So small a model calculates a little differently on another processor, and may miss what it was told.
    assert any(remembers(Talk(forgetful, owner, database), *fact) for fact in FACTS)
    database.close()


def remembers(talk: Talk, fact: str, question: str, name: str) -> bool:
    """Tell a fact, talk until its message does not go along any more, ask for it."""
    talk.say(fact)
    for message in SMALL_TALK:
        talk.say(message)
    notes = talk.notes()
    answer = talk.say(question)
    # What the model knows of the first message are its own notes.
    assert answer["metadata"]["history_left_out"] >= 2
    assert answer["metadata"]["history_summarized"] >= 2
    return name in notes and name in answer["content"]
