"""Token counts of answers: metadata, total, cost and ledger include all attempts."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from redis import Redis

from app import main
from app.config import ModelSetting, Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.fixtures.streaming import ChatServer, serving
from tests.support.provider import Behaviour, Provider, answers, chunk, fails, stalls, streams

USAGE = (12, 3)
BLANK_ANSWER = answers("  ", usage=(100, 7))
"""A blank answer: the attempt fails, and its tokens are billed."""

LEDGER_SUMS = """
    SELECT count(*) AS attempts, sum(prompt_tokens)::integer AS input, sum(completion_tokens)::integer AS output,
        sum(prompt_tokens + completion_tokens)::integer AS total, bool_or(is_estimated) AS is_estimated,
        sum(cost_usd) AS cost_usd
    FROM llm_calls WHERE turn_id = %s
"""


@pytest.fixture(scope="module", params=[30.0])
def url(settings: Settings, request: pytest.FixtureRequest) -> Iterator[str]:
    """A chat service with prices, a cache and one retry at each model. Its parameter is the timeout of an attempt."""
    prices: dict[str, Any] = {"prompt_price": Decimal(1), "completion_price": Decimal(10)}
    models = [ModelSetting(name=name, **prices) for name in ("gpt-primary", "gpt-fallback")]
    changes: dict[str, Any] = {"LLM_MODELS": models, "LLM_RETRIES_PER_MODEL": 1, "LLM_CACHE_TTL": 600}
    changes |= {"LLM_ATTEMPT_TIMEOUT": request.param}
    with serving(main.create(settings.model_copy(update=changes))) as url:
        yield url


@pytest.fixture
def server(url: str, ada: User, redis: Redis, provider: Provider) -> Iterator[ChatServer]:
    server = ChatServer(url, ada)
    yield server
    server.http.close()


Ask = Callable[[ChatServer], dict[str, Any]]


def ask_plain(server: ChatServer) -> dict[str, Any]:
    path = f"/sessions/{server.open()}/messages"
    return dict(server.http.post(path, json={"message": "Hi"}).raise_for_status().json()["ai_response"])


def ask_streamed(server: ChatServer) -> dict[str, Any]:
    return dict(server.ask_all(server.open())[-1].data["message"])


def ask_directly(server: ChatServer) -> dict[str, Any]:
    return dict(server.http.post("/direct", json={"message": "Hi"}).raise_for_status().json())


def ask_directly_streamed(server: ChatServer) -> dict[str, Any]:
    return dict(server.ask_all(None)[-1].data["message"])


def ask_with_a_new_session(server: ChatServer) -> dict[str, Any]:
    created = server.http.post("/sessions", json={"initial_message": "Hi"}).raise_for_status().json()
    return dict(created["ai_response"])


ASK_FUNCTIONS = [ask_plain, ask_streamed, ask_directly, ask_directly_streamed, ask_with_a_new_session]


def assert_counts_agree(answer: dict[str, Any], sql: Sql) -> dict[str, int]:
    """Compare the answer with the ledger and return its token counts."""
    (sums,) = sql.rows(
        LEDGER_SUMS, [answer.get("id") or sql.value("SELECT turn_id FROM llm_calls ORDER BY id DESC LIMIT 1")]
    )
    metadata, tokens = answer["metadata"], answer["metadata"]["tokens_used"]
    assert tokens == {name: sums[name] or 0 for name in ("input", "output", "total")}
    assert answer["tokens_used"] == tokens["total"]
    assert metadata["attempts"] == sums["attempts"]
    assert metadata["tokens_estimated"] == bool(sums["is_estimated"])
    cost = Decimal(tokens["input"] + 10 * tokens["output"]) / 1_000_000
    assert Decimal(metadata["cost_usd"]) == (sums["cost_usd"] or 0) == cost
    return dict(tokens)


@pytest.mark.parametrize("ask", ASK_FUNCTIONS)
@pytest.mark.parametrize(
    ("behaviours", "tokens"),
    [
        pytest.param([answers(usage=USAGE)], (12, 3), id="one attempt"),
        pytest.param([BLANK_ANSWER, answers(usage=USAGE)], (112, 10), id="a blank answer, and a retry"),
        pytest.param([fails(500), answers(usage=USAGE)], (12, 3), id="a refusal that used nothing, and a retry"),
        pytest.param([BLANK_ANSWER, BLANK_ANSWER, answers(usage=USAGE)], (212, 17), id="the fallback model"),
        pytest.param(
            [BLANK_ANSWER, fails(400), BLANK_ANSWER, answers(usage=USAGE)],
            (212, 17),
            id="a retry of the fallback model",
        ),
        pytest.param([BLANK_ANSWER] * 4, (400, 28), id="no answer"),
    ],
)
def test_token_counts_include_all_attempts(
    server: ChatServer,
    provider: Provider,
    sql: Sql,
    ask: Ask,
    behaviours: list[Behaviour],
    tokens: tuple[int, int],
) -> None:
    provider.script(*behaviours)
    counted = assert_counts_agree(ask(server), sql)
    assert (counted["input"], counted["output"]) == tokens


@pytest.mark.parametrize("url", [3.0], indirect=True)
@pytest.mark.parametrize("ask", ASK_FUNCTIONS)
def test_token_counts_include_an_attempt_that_is_estimated(
    server: ChatServer, provider: Provider, sql: Sql, ask: Ask
) -> None:
    provider.script(stalls(), answers(usage=USAGE))
    assert assert_counts_agree(ask(server), sql)["input"] > USAGE[0]


def test_cached_answer_has_zero_tokens(server: ChatServer, provider: Provider, sql: Sql) -> None:
    provider.script(BLANK_ANSWER, answers("Hello.", usage=USAGE))
    assert assert_counts_agree(ask_plain(server), sql)["total"] == 122
    for ask in (ask_plain, ask_streamed):
        again = ask(server)
        assert again["metadata"]["cached"]
        assert assert_counts_agree(again, sql)["total"] == 0
    assert len(provider.calls) == 2


@pytest.mark.parametrize("path", ["/direct", "/sessions/{}/messages", "/sessions"])
def test_replayed_answer_has_the_token_counts_of_the_first_response(
    server: ChatServer, provider: Provider, sql: Sql, path: str
) -> None:
    provider.script(BLANK_ANSWER, answers(usage=USAGE))
    path = path.format(server.open())
    body = {"initial_message" if path == "/sessions" else "message": "Hi"}
    for _ in range(2):
        response = server.http.post(path, json=body, headers={"Idempotency-Key": "a-key"}).raise_for_status().json()
        assert assert_counts_agree(response.get("ai_response", response), sql)["total"] == 122
        sql.do("UPDATE idempotency_keys SET status_code = NULL, response = NULL WHERE session_id IS NOT NULL")
    assert len(provider.calls) == 2


def test_stored_and_resumed_answers_have_the_token_counts_of_all_attempts(
    server: ChatServer, provider: Provider, sql: Sql
) -> None:
    provider.script(BLANK_ANSWER, answers(usage=USAGE))
    session = server.open()
    answer = server.ask_all(session)[-1].data["message"]
    for answer_again in (server.messages(session)[-1], server.resume_all(session, answer["id"])[-1].data["message"]):
        assert assert_counts_agree(answer_again, sql)["total"] == 122
    assert server.http.get(f"/sessions/{session}").json()["usage"]["total_tokens"] == 122


def test_cancelled_answer_includes_the_tokens_of_a_failed_attempt(
    server: ChatServer, provider: Provider, sql: Sql
) -> None:
    provider.script(BLANK_ANSWER, streams(chunk("Once upon "), hold=True))
    session = server.open()
    with server.ask(session) as reader:
        answer_id = reader.take(2)[0].data["message_id"]
        stopped = server.cancel(session, answer_id).raise_for_status().json()
        list(reader)
    assert stopped["status"] == "cancelled"
    assert assert_counts_agree(stopped, sql)["input"] > 100


def test_answers_do_not_include_the_tokens_of_summaries(
    settings: Settings, ada: User, provider: Provider, sql: Sql
) -> None:
    changes = {"LLM_SUMMARY_ENABLED": True, "LLM_SUMMARY_MESSAGES": 2, "LLM_HISTORY_MESSAGES": 2}
    prices: dict[str, Any] = {"prompt_price": Decimal(1), "completion_price": Decimal(10)}
    models = [ModelSetting(name=name, **prices) for name in ("gpt-primary", "gpt-fallback")]
    with serving(main.create(settings.model_copy(update=changes | {"LLM_MODELS": models}))) as url:
        server = ChatServer(url, ada)
        session = server.open()
        provider.always(answers(usage=USAGE))
        for _ in range(4):
            path = f"/sessions/{session}/messages"
            answer = server.http.post(path, json={"message": "Hi"}).raise_for_status().json()["ai_response"]
            assert assert_counts_agree(answer, sql)["total"] == 15
        provider.wait_until(lambda: sql.value("SELECT count(*) FROM llm_calls WHERE purpose = 'summary'") > 0)
        server.http.close()
