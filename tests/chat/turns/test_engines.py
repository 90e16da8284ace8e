"""Every engine through the service: answers, reasoning, usage, errors and refused parameters, plain and streamed.

The block `engines` of `docs/reference/provider-faults.md` lists the outcomes. `make faults` writes it.
"""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter
from redis import Redis

from app import main
from app.config import ModelSetting, ProviderSetting, Settings
from app.graph.prompts import FALLBACK_RESPONSE
from local.paths import PROJECT
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User
from tests.support.engines import ANSWER, CODES, ENGINES, TEXT, Engine
from tests.support.provider import Provider, running_provider

DOCUMENT = PROJECT / "docs" / "reference" / "provider-faults.md"
BLOCK = re.compile(r"(<!-- generated: engines -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = ("Engine", "Question", "Mode", "Attempts", "Status", "Code", "Content", "Tokens", "Adapted")
QUESTIONS = [(engine, situation) for engine in ENGINES for situation in (ANSWER, *engine.errors)]
ROWS: dict[tuple[str, str, bool], tuple[str, ...]] = {}
"""Outcomes, by engine, question and whether it was streamed."""


@pytest.fixture(scope="module")
def engines() -> Iterator[Provider]:
    with running_provider() as server:
        for engine in ENGINES:
            server.always(engine.behaviour(), model=engine.model_name)
        yield server


@pytest.fixture(scope="module")
def service(settings: Settings, engines: Provider) -> Iterator[TestClient]:
    root = engines.base_url.removesuffix("/v1")
    with pytest.MonkeyPatch.context() as patch:
        providers, models = [], []
        for number, engine in enumerate(ENGINES):
            patch.setenv(f"ENGINE_KEY_{number}", engine.key)
            fields = {"base_url": root + engine.path, "api_key_env": f"ENGINE_KEY_{number}"}
            providers.append({"name": engine.provider_name, **fields, **engine.provider})
            models.append({"name": engine.model_name, "provider": engine.provider_name, **engine.model})
        changes = {
            "LLM_PROVIDERS": TypeAdapter(list[ProviderSetting]).validate_python(providers),
            "LLM_MODELS": TypeAdapter(list[ModelSetting]).validate_python(models),
            "LLM_FALLBACK_MODEL": "",
            "LLM_RETRIES_PER_MODEL": 1,
        }
        with TestClient(main.create(settings.model_copy(update=changes))) as client:
            yield client


@pytest.fixture
def chat(service: TestClient, sql: Sql, redis: Redis, provider: Provider, ada: User) -> Chat:
    return Chat(service, ada)


def ask(chat: Chat, engine: Engine, question: str, *, is_streamed: bool) -> dict[str, Any]:
    path = f"/sessions/{chat.open()}/messages{'/stream' if is_streamed else ''}"
    response = chat.request("POST", path, json={"message": question, "model": engine.model_name})
    assert response.status_code == 200, response.text
    if not is_streamed:
        return dict(response.json()["ai_response"])
    events = [json.loads(line[6:]) for line in response.text.split("\n") if line.startswith("data: ")]
    message = dict(events[-1]["message"])
    assert "".join(event.get("text", "") for event in events) == message["content"]
    return message


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(("engine", "question"), QUESTIONS, ids=[f"{each.name}: {name}" for each, name in QUESTIONS])
def test_engine(chat: Chat, engines: Provider, sql: Sql, engine: Engine, question: str, *, is_streamed: bool) -> None:
    before = len(engines.calls)
    message = ask(chat, engine, question, is_streamed=is_streamed)
    calls = engines.calls[before:]
    ledger = sql.rows("SELECT * FROM llm_calls ORDER BY attempt")
    assert {row["provider"] for row in ledger} == {engine.provider_name}
    metadata = message["metadata"]
    if question == ANSWER:
        assert (message["status"], message["content"]) == ("complete", TEXT)
        assert metadata.get("reasoning", "") == engine.reasoning
        assert metadata["finish_reason"] == "stop"
        assert [row["is_estimated"] for row in ledger] == [False]
        assert (ledger[0]["prompt_tokens"], ledger[0]["completion_tokens"]) == (12, 3)
    else:
        assert (message["status"], metadata["error"]) == ("failed", CODES[question])
        assert message["content"] == FALLBACK_RESPONSE
        assert "reasoning" not in metadata
    assert all(call.model == engine.model_name for call in calls)
    ROWS[engine.name, question, is_streamed] = _row(message, ledger, len(ledger))


def _row(message: dict[str, Any], ledger: list[dict[str, Any]], calls: int) -> tuple[str, ...]:
    code = f"`{message['metadata']['error']}`" if "error" in message["metadata"] else ""
    content = "the answer" if message["content"] == TEXT else "fallback message"
    if "reasoning" in message["metadata"]:
        content += ", and reasoning"
    (tokens,) = {
        "none" if not row["prompt_tokens"] else "estimated" if row["is_estimated"] else "counted" for row in ledger
    }
    return (str(calls), f"`{message['status']}`", code, content, tokens)


def test_refused_parameters_are_sent_once(chat: Chat, engines: Provider) -> None:
    for engine in ENGINES:
        for _number in range(2):
            ask(chat, engine, ANSWER, is_streamed=True)
        last = engines.calls[-1].body
        for name, other in engine.adapted.items():
            assert name not in last
            assert other is None or other in last
        assert engine.check(last) is None


def test_outcomes_are_documented() -> None:
    if len(ROWS) < 2 * len(QUESTIONS):
        pytest.skip("needs the outcomes of all the tests of this module")
    rows = [HEAD, ("---",) * len(HEAD)]
    for engine, question in QUESTIONS:
        changes = (f"`{old}`: {f'`{new}`' if new else 'left out'}" for old, new in engine.adapted.items())
        adapted = "; ".join(changes) if question == ANSWER else ""
        plain, streamed = (ROWS[engine.name, question, is_streamed] for is_streamed in (False, True))
        modes = {"both": plain} if plain == streamed else {"plain": plain, "streamed": streamed}
        rows += [(engine.name, question, mode, *row, adapted) for mode, row in modes.items()]
    table = "\n".join(f"| {' | '.join(row)} |".replace("  ", " ") for row in rows)
    text = DOCUMENT.read_text()
    document = BLOCK.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", text)
    if os.environ.get("PROVIDER_FAULTS") == "write":
        DOCUMENT.write_text(document)
    assert DOCUMENT.read_text() == document
