"""Conformance suite of the graph's ports, for the real adapters and their fakes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import uuid4

import pytest

from app.chat.turns.conversation_history import StoredConversationHistory
from app.config import Settings
from app.database.connection import Database
from app.graph.ports.chat_model import ChatModel, Completion, ModelError, StreamTimeouts
from app.graph.ports.conversation_history import ConversationHistory
from app.graph.ports.messages import HistoryMessage, PromptMessage, SessionHistory
from tests.fixtures.database import Sql
from tests.services.llm.openai_attempts import open_model
from tests.support.fakes import FakeHistory, FakeModel, completion, conversation, model_request
from tests.support.provider import Provider, answers, fails, stalls
from tests.support.waiting import LONGEST_WAIT

QUESTION: list[PromptMessage] = [{"role": "user", "content": "Hi"}]
SESSION = uuid4()
CONVERSATION = conversation("My name is Ada.", "Hello Ada.", "What is my name?", "Ada.")

MakeModel = Callable[[Completion | ModelError | None], ChatModel]


@pytest.fixture(params=["fake", "openai"])
async def make_model(
    request: pytest.FixtureRequest, settings: Settings, provider: Provider
) -> AsyncIterator[MakeModel]:
    """Factory of a model that returns or raises the outcome, or (None) never answers."""
    adapter = open_model(settings)

    def real(outcome: Completion | ModelError | None) -> ChatModel:
        if outcome is None:
            provider.script(stalls())
        elif isinstance(outcome, ModelError):
            provider.script(fails(429, retry_after="3"))
        else:
            usage = (outcome.token_counts.prompt_tokens, outcome.token_counts.completion_tokens)
            provider.script(answers(outcome.text, model=outcome.model, usage=usage))
        return adapter

    yield FakeModel if request.param == "fake" else real
    await adapter.close()


async def test_a_model_answers(make_model: MakeModel) -> None:
    expected = completion("Hello Ada.")
    assert await make_model(expected).complete(model_request(QUESTION), max_seconds=LONGEST_WAIT) == expected


async def test_a_model_fails_with_a_model_error(make_model: MakeModel) -> None:
    model = make_model(ModelError("provider_rate_limited", retryable=True, retry_after=3))
    with pytest.raises(ModelError) as failure:
        await model.complete(model_request(QUESTION), max_seconds=LONGEST_WAIT)
    error = failure.value
    assert (error.code, error.retryable, error.retry_after) == ("provider_rate_limited", True, 3)


async def test_a_model_publishes_its_answer_as_it_arrives(make_model: MakeModel) -> None:
    expected = completion("Hello Ada.")
    pieces: list[str] = []
    returned = await make_model(expected).stream(
        model_request(QUESTION), pieces.append, timeouts=StreamTimeouts(LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT)
    )
    assert returned == expected
    assert "".join(pieces) == expected.text


async def test_a_failed_stream_raises_a_model_error(make_model: MakeModel) -> None:
    pieces: list[str] = []
    model = make_model(ModelError("provider_rate_limited", retryable=True, retry_after=3))
    with pytest.raises(ModelError, match="provider_rate_limited"):
        await model.stream(
            model_request(QUESTION), pieces.append, timeouts=StreamTimeouts(LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT)
        )
    assert pieces == []


async def test_a_model_can_be_cancelled(make_model: MakeModel) -> None:
    attempt = asyncio.ensure_future(make_model(None).complete(model_request(QUESTION), max_seconds=30))
    await asyncio.sleep(0.05)
    assert not attempt.done()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt


@pytest.fixture(params=["fake", "stored"])
async def conversation_history(
    request: pytest.FixtureRequest, settings: Settings, sql: Sql
) -> AsyncIterator[ConversationHistory]:
    """The conversation of `SESSION`."""
    if request.param == "fake":
        yield FakeHistory(CONVERSATION)
        return
    user = sql.value(
        "INSERT INTO users (uuid, email, username, password_hash)"
        " VALUES (gen_random_uuid(), 'ada@example.com', 'ada', '') RETURNING id"
    )
    session = sql.value(
        "INSERT INTO chat_sessions (uuid, user_id, title, last_seq, message_count)"
        " VALUES (%s, %s, '', 5, 5) RETURNING id",
        [SESSION, user],
    )
    for seq, message in enumerate(CONVERSATION, 1):
        sql.do(
            "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)"
            " VALUES (gen_random_uuid(), %s, %s, %s, %s, 'complete')",
            [session, seq, message["role"], message["content"]],
        )
    question = sql.value(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)"
        " VALUES (gen_random_uuid(), %s, 5, 'user', 'What next?', 'complete') RETURNING uuid",
        [session],
    )
    database = Database.from_settings(settings, application_name="test")
    yield StoredConversationHistory(database, user, question)
    await database.close()


@pytest.mark.parametrize(
    ("before_depth", "limit", "expected"),
    [
        pytest.param(5, 10, CONVERSATION, id="all, oldest first"),
        pytest.param(5, 2, CONVERSATION[2:], id="the newest"),
        pytest.param(3, 10, CONVERSATION[:2], id="what came before"),
        pytest.param(3, 1, CONVERSATION[1:2], id="the newest of what came before"),
        pytest.param(1, 10, [], id="nothing came before"),
        pytest.param(5, 0, [], id="none wanted"),
    ],
)
async def test_a_history_returns_the_newest_messages_before_a_position_in_order(
    conversation_history: ConversationHistory, before_depth: int, limit: int, expected: list[HistoryMessage]
) -> None:
    assert await conversation_history.load(SESSION, before_depth=before_depth, limit=limit) == SessionHistory(expected)
