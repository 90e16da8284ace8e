"""Turns with failing models, and turns of a process that was killed."""

import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app import main
from app.config import Settings
from app.graph.prompts import FALLBACK_RESPONSE
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat
from tests.support.provider import Behaviour, Provider, answers, fails, resets, sends, stalls


def test_fallback_model_answers_when_the_primary_model_fails(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.always(fails(503, retry_after="0"), model="gpt-primary")
    provider.script(answers("Hello.", usage=(7, 2)), model="gpt-fallback")
    answer = chat.ask(chat.open(), "Hi")["ai_response"]
    assert (answer["content"], answer["status"]) == ("Hello.", "complete")
    assert answer["metadata"]["fallback_model"] is True
    assert answer["metadata"]["model_used"] == "gpt-fallback"
    assert [call.model for call in provider.calls] == ["gpt-primary", "gpt-primary", "gpt-fallback"]
    ledger = sql.rows("SELECT attempt, model_requested, status, error_code, is_fallback, prompt_tokens FROM llm_calls")
    assert [tuple(row.values()) for row in ledger] == [
        (1, "gpt-primary", "error", "provider_error", False, 0),
        (2, "gpt-primary", "error", "provider_error", False, 0),
        (3, "gpt-fallback", "ok", None, True, 7),
    ]


@pytest.fixture(scope="module")
def short_timeout_service(settings: Settings) -> Iterator[TestClient]:
    """Chat service with an attempt timeout of two seconds and without retries."""
    limits = {"LLM_ATTEMPT_TIMEOUT": 2, "LLM_TURN_TIMEOUT": 10, "LLM_RETRIES_PER_MODEL": 0}
    with TestClient(main.create(settings.model_copy(update=limits))) as client:
        yield client


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(fails(500, retry_after="0"), "provider_error", id="500"),
        pytest.param(fails(429, retry_after="0"), "provider_rate_limited", id="429"),
        pytest.param(fails(401), "provider_rejected", id="401"),
        pytest.param(resets(), "provider_unreachable", id="reset"),
        pytest.param(stalls(), "provider_timeout", id="stalled"),
        pytest.param(answers("Hello.", cut_after=40), "provider_unreachable", id="cut"),
        pytest.param(answers("Hello.", finish_reason=None), "provider_bad_response", id="no finish reason"),
        pytest.param(sends(b"{"), "provider_bad_response", id="broken json"),
        pytest.param(sends(b'{"a": "\xff"}'), "provider_bad_response", id="broken utf-8"),
    ],
)
def test_failed_answer_is_returned_and_stored_and_does_not_block_the_session(
    chat: Chat, short_timeout_service: TestClient, provider: Provider, sql: Sql, behaviour: Behaviour, code: str
) -> None:
    session = chat.open()
    provider.always(behaviour)
    turn_chat = Chat(short_timeout_service, chat.user) if code == "provider_timeout" else chat
    started = time.monotonic()
    turn = turn_chat.ask(session, "Hi")
    assert time.monotonic() - started < 30  # less than the default deadline of a turn
    answer = turn["ai_response"]
    assert (answer["status"], answer["content"]) == ("failed", FALLBACK_RESPONSE)
    assert answer["metadata"]["fallback"] is True
    assert answer["metadata"]["error"] == code
    assert "provider detail" not in str(turn)
    assert chat.messages(session)[1]["status"] == "failed"
    assert sql.value("SELECT count(*) FROM llm_calls WHERE status = 'error'") == len(provider.calls)

    provider.always(answers("Back again."))
    answer = chat.ask(session, "And now?")["ai_response"]
    assert (answer["status"], answer["content"]) == ("complete", "Back again.")
    # Fallback messages are not part of the history.
    assert FALLBACK_RESPONSE not in str(provider.calls[-1].body)


def test_turn_of_a_killed_process_does_not_block_its_session(chat: Chat, sql: Sql) -> None:
    session = chat.open()
    chat.ask(session, "Hi")
    sql.do(
        "UPDATE chat_messages SET status = 'pending', lease_expires_at = now() - interval '1 second'"
        " WHERE role = 'assistant'"
    )
    assert chat.ask(session, "Still there?")["ai_response"]["status"] == "complete"
    assert [message["status"] for message in chat.messages(session)] == [
        "complete",
        "interrupted",
        "complete",
        "complete",
    ]


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(answers("Hello.", model="a\x00b"), id="nul in the model's name"),
        pytest.param(answers("Hello.", model="a\ud800b"), id="surrogate in the model's name"),
        pytest.param(answers("Hello.", finish_reason="a\x00b"), id="nul in the finish reason"),
    ],
)
def test_unstorable_metadata_of_an_answer_does_not_block_the_session(
    chat: Chat, provider: Provider, behaviour: Behaviour
) -> None:
    session = chat.open()
    provider.script(behaviour)
    chat.ask(session, "Hi")
    assert chat.ask(session, "Hi again")["ai_response"]["status"] == "complete"
