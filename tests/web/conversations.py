"""Conversations that a test needs, made through the API."""

from tests.support.provider import Provider, answers
from tests.web.conftest import Member


def converse(member: Member, provider: Provider, *exchanges: tuple[str, str], **session: object) -> str:
    """Make a session with these questions and answers, and return its id."""
    response = member.client.post("/api/v1/chat/sessions", json={"title": "A chat", **session})
    response.raise_for_status()
    session_id = str(response.json()["session_id"])
    for question, answer in exchanges:
        provider.script(answers(answer))
        asked = member.client.post(f"/api/v1/chat/sessions/{session_id}/messages", json={"message": question})
        asked.raise_for_status()
        received = asked.json()["ai_response"]
        assert received["content"] == answer.strip(), received
    return session_id
