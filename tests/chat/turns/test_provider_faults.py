"""Outcome of every provider fault in the real chat service, which discloses no secret.

`docs/reference/provider-faults.md` documents the outcomes. `make faults` writes it.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis import Redis

from app.config import Settings
from app.graph.prompts import FALLBACK_RESPONSE
from app.services.llm import finish_reasons
from local.paths import PROJECT
from tests.chat.turns.fault_turns import ALL_FAULTS, ATTEMPT_SECONDS, FALLBACK_TEXT, MODELS, REFUSED, Outcome, Runs
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.support.provider import Behaviour, Call, Provider, Wire, answers
from tests.support.provider_faults import KEY, Fault

DOCUMENT = PROJECT / "docs" / "reference" / "provider-faults.md"
ENGINES = "## Engines\n"
"""Heading of the block that `test_engines` writes."""
LIMITS = {
    "LLM_ATTEMPT_TIMEOUT": ATTEMPT_SECONDS,
    "LLM_TURN_TIMEOUT": 5 * ATTEMPT_SECONDS,
    "LLM_STREAM_PAUSE": ATTEMPT_SECONDS,
    "LLM_STREAM_TIMEOUT": 30.0,
    "LLM_RETRIES_PER_MODEL": 1,
}
WORK_SECONDS = 60.0
"""Maximum duration of a turn without its waits, on a busy machine."""
ANSWERS = {fault.name for fault in ALL_FAULTS if fault.is_answer}


def test_every_known_finish_reason_has_a_row() -> None:
    tested = {name.lower() for fault in ALL_FAULTS for name in re.findall(r"`finish_reason` `([^`]+)`", fault.name)}
    known = finish_reasons._FILTERED | finish_reasons._INCOMPLETE | finish_reasons._LENGTH_NAMES
    assert known - tested == set()


def test_every_fault_has_the_documented_outcome_and_discloses_no_secret(
    settings: Settings, home: Path, provider: Provider, sql: Sql, redis: Redis, ada: User
) -> None:
    runs = Runs(home, ada)
    _run_all(runs, settings, provider)
    turns = {turn.answer_id: turn for turn in runs.outcomes}
    for row in sql.rows("SELECT * FROM llm_calls ORDER BY turn_id, attempt"):
        turn = turns[str(row["turn_id"])]
        turn.codes.append(row["error_code"])
        if row["model_requested"] == turn.model:
            turn.token_sources.append(_token_source(row))
    for turn in runs.outcomes:
        _check(turn)

    assert all(call.headers["authorization"] == f"Bearer {KEY}" for call in provider.calls)
    places = {
        "logs": runs.logs,
        "rows": json.dumps(sql.everything()),
        "responses": "".join(turn.body for turn in runs.outcomes),
        "Redis": "".join(repr((key, redis.dump(key))) for key in redis.scan_iter()),
    }
    assert "model attempt failed" in runs.logs
    assert [name for name, text in places.items() if KEY in text] == []
    assert "Traceback" not in runs.logs

    document = _document(runs.outcomes)
    stored, heading, engines = DOCUMENT.read_text().partition(ENGINES)
    if os.environ.get("PROVIDER_FAULTS") == "write":
        DOCUMENT.write_text(f"{document}\n{heading}{engines}")
        stored = document
    assert stored.rstrip().splitlines() == document.rstrip().splitlines()


def _run_all(runs: Runs, settings: Settings, provider: Provider) -> None:
    provider.always(answers(FALLBACK_TEXT), model="gpt-fallback")
    for fault in ALL_FAULTS:
        provider.always(_behaviour(fault), model=MODELS[fault.name])
    overrides: dict[str, object] = {
        **LIMITS,
        "OPENAI_API_KEY": SecretStr(KEY),
        "LOG_LEVEL": "DEBUG",
        "LLM_CACHE_TTL": 60,
        "LLM_MODELS": json.dumps([*MODELS.values()]),
    }
    for fallback in ("", "gpt-fallback"):
        overrides["LLM_FALLBACK_MODEL"] = fallback
        runs.add(settings.model_copy(update=overrides), provider)
    turns_by_question = {turn.question: turn for turn in runs.outcomes}
    for call in provider.calls:
        turns_by_question[call.messages[-1]["content"]].calls.append(call)


def _token_source(row: dict[str, Any]) -> str:
    if row["prompt_tokens"] == 0:
        assert (row["completion_tokens"], row["is_estimated"]) == (0, False), row
        return "none"
    return "estimated" if row["is_estimated"] else "counted"


def _check(turn: Outcome) -> None:
    assert turn.http_status == 200, turn
    assert turn.status in {"complete", "failed"}, turn
    assert turn.elapsed < turn.timeouts * ATTEMPT_SECONDS + turn.retry_delays * 2 + WORK_SECONDS, turn
    assert turn.fault == REFUSED or len(turn.codes) == len(turn.calls), turn
    is_partial = turn.is_streamed and turn.status == "failed" and turn.text != FALLBACK_RESPONSE
    if turn.fault in ANSWERS:
        assert (turn.status, turn.calls_made.split()[0]) == ("complete", "1"), turn
    elif turn.has_fallback and turn.fault != REFUSED and not is_partial:
        assert (turn.status, turn.text) == ("complete", FALLBACK_TEXT), turn
    else:
        assert turn.status == "failed", turn
    if is_partial:
        assert len(turn.calls) == 1, turn  # published text cannot be retracted


def _behaviour(fault: Fault) -> Behaviour:
    async def behave(call: Call, wire: Wire) -> None:
        await (fault.streamed if call.stream else fault.plain)(call, wire)

    return behave


_INTRODUCTION = f"""# Provider faults

The tables list the outcome of each fault of a model provider. A test runs the chat service as a process against a
provider that has the fault in every call, and fails if the outcome differs from this page. `make faults` runs the test
and writes the page.

Settings of the test: the timeout of an attempt is {ATTEMPT_SECONDS:g} s, the maximum pause of a stream
{LIMITS["LLM_STREAM_PAUSE"]:g} s, and the deadline of a turn {LIMITS["LLM_TURN_TIMEOUT"]:g} s.
Each model is called again at most once. The circuit breakers do not open, so that each turn makes all of its attempts.
In the last row of the first two tables all models refuse connections. [Retries, fallback and
deadline](../explanation/turn-pipeline.md#retries-fallback-and-deadline) describes the rules.

- *Mode*: plain response, event stream, or both with the same outcome.
- *Calls*: requests that the provider received for the model with the fault, then those for the fallback model, which
  has no fault.
- *HTTP*, *Status*, *Code*: HTTP status of the response; status and error code of the stored and returned answer.
- *Content*: text of the answer, and whether the reasoning of the model is in its metadata.
- *Tokens*: tokens in the ledger for the attempts with the fault: counted by the provider, estimated if it counted none,
  or none if it responded with an error status or was not reached.
- *Wait*: time that the turn waited for, without processing, which takes a fraction of a second.
"""


def _document(outcomes: list[Outcome]) -> str:
    parts = [_INTRODUCTION]
    for title, has_fallback in (("Without a fallback model", False), ("With a fallback model", True)):
        head = ("Fault", "Mode", "Calls", "HTTP", "Status", "Code", "Content", "Tokens", "Wait")
        rows = [head, ("---",) * len(head)]
        turns = [turn for turn in outcomes if turn.has_fallback is has_fallback]
        for plain, streamed in zip(turns[::2], turns[1::2], strict=True):
            if plain.row == streamed.row:
                rows.append((plain.fault, "both", *plain.row))
            else:
                rows += [
                    (turn.fault, "streamed" if turn.is_streamed else "plain", *turn.row) for turn in (plain, streamed)
                ]
        table = "\n".join(f"| {' | '.join(row)} |".replace("  ", " ") for row in rows)
        parts.append(f"## {title}\n\n{table}\n")
    return "\n".join(parts)
