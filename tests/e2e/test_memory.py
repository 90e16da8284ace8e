"""Conversations with the local model that exceed the context window."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import main
from app.config import Settings
from local.model import MODEL_NAME
from local.stack import Stack
from tests.e2e.conftest import UserClient
from tests.fixtures.database import Sql
from tests.fixtures.services import CHAT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

FACTS = (
    ("My dog is called Rex.", "What is my dog called?", "Rex"),
    ("My cat is named Luna.", "What is the name of my cat?", "Luna"),
    ("My name is Ada.", "What is my name?", "Ada"),
    ("My favourite colour is green.", "What is my favourite colour?", "green"),
    ("I live in Rome.", "In which city do I live?", "Rome"),
)
SMALL_TALK = (
    "What is rain?",
    "How do I make tea?",
    "What is the moon?",
    "What is bread made of?",
    "What is a bicycle?",
)


@pytest.fixture
def service_with_small_window(stack: Stack) -> Iterator[TestClient]:
    """A chat service on the stack's components, configured with a context window of a few messages."""
    overrides = {
        "LLM_MODELS": f'[{{"name": "{MODEL_NAME}", "context_window": 480}}]',
        "LLM_MAX_TOKENS": "24",
        "LLM_TEMPERATURE": "0",
        "SHUTDOWN_GRACE": "5",
        "LLM_ATTEMPT_TIMEOUT": "60",
    }
    stack_settings = {name: value for name, value in stack.settings.items() if name in Settings.model_fields}
    with TestClient(main.create(Settings(_env_file=None, **(stack_settings | overrides)))) as service:  # type: ignore[arg-type]
        yield service


class Conversation:
    """A session at the chat service."""

    def __init__(self, service: TestClient, user: UserClient, database: Sql) -> None:
        self._service = service
        self._headers = {"Authorization": user.client.headers["Authorization"]}
        self._database = database
        self.session = self._post("/sessions", {})["session_id"]

    def ask(self, message: str) -> dict[str, Any]:
        answer = self._post(f"/sessions/{self.session}/messages", {"message": message})["ai_response"]
        return dict(answer)

    def summary(self) -> str:
        """Wait for the summary of the session and return it."""
        statement = (
            "SELECT CASE WHEN summary_lease_expires_at IS NULL THEN content END"
            " FROM chat_sessions AS session LEFT JOIN chat_summaries ON session_id = session.id WHERE uuid = %s"
            " ORDER BY depth DESC NULLS LAST LIMIT 1"
        )
        wait_until(lambda: self._database.value(statement, [self.session]), timeout=180)
        return str(self._database.value(statement, [self.session]))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._service.post(f"{CHAT}{path}", json=body, headers=self._headers)
        assert response.is_success, response.text
        return dict(response.json())


def test_fact_from_a_summarized_message_is_recalled(
    stack: Stack, service_with_small_window: TestClient, make_user_client: Callable[[str], UserClient]
) -> None:
    database = Sql(stack.owner_database_url)
    owner = make_user_client("owner")
    # Results of a small model differ between processors, and depend on which turns have been summarized by when, so one
    # of the facts is enough.
    assert any(recalls_fact(Conversation(service_with_small_window, owner, database), *fact) for fact in FACTS)
    database.close()


def recalls_fact(conversation: Conversation, fact: str, question: str, name: str) -> bool:
    """State a fact, continue until its message is no longer sent, and ask for it."""
    conversation.ask(fact)
    for message in SMALL_TALK:
        conversation.ask(message)
    summary = conversation.summary()
    answer = conversation.ask(question)
    # The first message was sent as part of the summary only.
    assert answer["metadata"]["history_left_out"] >= 2
    assert answer["metadata"]["history_summarized"] >= 2
    return name in summary and name in answer["content"]
