"""Event streams of failing models."""

from collections.abc import Iterator

import pytest

from app import main
from app.config import Settings
from app.graph.prompts import FALLBACK_RESPONSE
from tests.chat.streaming.stream_checks import assert_complete_stream
from tests.fixtures.database import Sql
from tests.fixtures.streaming import ChatServer, serving, text_of
from tests.support.provider import DONE, Behaviour, Provider, answers, chunk, fails, resets, stalls, streams


@pytest.fixture(scope="module")
def short_timeout_url(settings: Settings) -> Iterator[str]:
    """URL of a service with an attempt timeout of two seconds and without retries."""
    limits = {"LLM_ATTEMPT_TIMEOUT": 2, "LLM_TURN_TIMEOUT": 10, "LLM_RETRIES_PER_MODEL": 0}
    with serving(main.create(settings.model_copy(update=limits))) as url:
        yield url


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(fails(500, retry_after="0"), "provider_error", id="500"),
        pytest.param(resets(), "provider_unreachable", id="reset"),
        pytest.param(stalls(), "provider_timeout", id="stalled"),
        pytest.param(streams(DONE), "provider_bad_response", id="nothing"),
        pytest.param(streams(chunk(error={"message": "provider detail"})), "provider_error", id="error object"),
    ],
)
def test_fallback_message_and_message_failed_are_sent_when_every_model_fails(
    server: ChatServer, short_timeout_url: str, provider: Provider, behaviour: Behaviour, code: str
) -> None:
    session = server.open()
    provider.always(behaviour)
    short_timeout_server = ChatServer(short_timeout_url, server.user)
    events = (short_timeout_server if code == "provider_timeout" else server).ask_all(session)
    short_timeout_server.http.close()
    assert (events[-1].name, events[-1].data["code"]) == ("message.failed", code)
    assert text_of(events) == FALLBACK_RESPONSE
    answer = server.messages(session)[1]
    assert_complete_stream(events, answer)
    assert answer["status"] == "failed"
    assert answer["metadata"]["fallback"] is True
    assert "provider detail" not in str(events)


def test_attempt_that_fails_before_its_first_token_is_retried(server: ChatServer, provider: Provider) -> None:
    session = server.open()
    provider.script(streams(DONE), fails(401))
    provider.script(answers("Hello."))
    events = server.ask_all(session)
    assert (events[-1].name, text_of(events)) == ("message.completed", "Hello.")
    assert [call.model for call in provider.calls] == ["gpt-primary", "gpt-primary", "gpt-fallback"]


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(answers("a b c", cut_after=2), "provider_unreachable", id="cut"),
        pytest.param(answers("a b", finish_reason=None), "provider_bad_response", id="no finish reason"),
        pytest.param(streams(chunk("a b"), b"data: {\n\n"), "provider_bad_response", id="broken json"),
        pytest.param(streams(chunk("a b"), chunk(error={"message": "no"})), "provider_error", id="error object"),
    ],
)
def test_attempt_that_fails_after_its_first_token_ends_as_failed_with_partial_text(
    server: ChatServer, provider: Provider, sql: Sql, behaviour: Behaviour, code: str
) -> None:
    session = server.open()
    provider.always(behaviour)
    events = server.ask_all(session)
    assert (events[-1].name, events[-1].data["code"]) == ("message.failed", code)
    assert text_of(events) == "a b"
    answer = server.messages(session)[1]
    assert_complete_stream(events, answer)
    assert (answer["status"], answer["metadata"]["error"], answer["metadata"]["fallback"]) == ("failed", code, False)
    assert len(provider.calls) == 1
    (call,) = sql.rows("SELECT status, error_code, is_estimated, completion_tokens FROM llm_calls")
    assert call == {"status": "error", "error_code": code, "is_estimated": True, "completion_tokens": 1}
    # A failed answer is not part of the history.
    server.ask_all(session, "And now?")
    assert "a b" not in str(provider.calls[-1].body)
