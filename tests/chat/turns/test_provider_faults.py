"""Every fault of a provider, through the real service: what it comes to, and that no secret gets out on the way.

`docs/provider-faults.md` is what is seen here. `make faults` writes it again.
"""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from redis import Redis

from app.config import Settings
from app.graph.prompts import FALLBACK_RESPONSE
from local.paths import PROJECT
from tests.chat.turns.fault_turns import ATTEMPT_SECONDS, FALLBACK_TEXT, MODELS, REFUSED, Runs, Seen
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.support.provider import Behaviour, Call, Provider, Wire, answers
from tests.support.provider_faults import FAULTS, KEY, Fault

DOCUMENT = PROJECT / "docs" / "provider-faults.md"
LIMITS = {
    "LLM_ATTEMPT_TIMEOUT": ATTEMPT_SECONDS,
    "LLM_TURN_TIMEOUT": 5 * ATTEMPT_SECONDS,
    "LLM_STREAM_PAUSE": ATTEMPT_SECONDS,
    "LLM_STREAM_TIMEOUT": 30.0,
    "LLM_RETRIES_PER_MODEL": 1,
}
WORK_SECONDS = 60.0
"""What everything but waiting may take on a busy machine."""
ANSWERS = {fault.name for fault in FAULTS if fault.is_answer}


def test_every_fault_comes_to_what_the_document_says_and_no_secret_gets_out(
    settings: Settings, home: Path, provider: Provider, sql: Sql, redis: Redis, ada: User
) -> None:
    runs = Runs(home, ada)
    _run_all(runs, settings, provider)
    turns = {turn.answer_id: turn for turn in runs.seen}
    for row in sql.rows("SELECT * FROM llm_calls ORDER BY turn_id, attempt"):
        turn = turns[str(row["turn_id"])]
        turn.codes.append(row["error_code"])
        if row["model_requested"] == turn.model:
            turn.accounts.append(_account(row))
    for turn in runs.seen:
        _check(turn)

    assert all(call.headers["authorization"] == f"Bearer {KEY}" for call in provider.calls)
    places = {
        "logs": runs.logs,
        "rows": json.dumps(sql.everything()),
        "responses": "".join(turn.body for turn in runs.seen),
        "Redis": "".join(repr((key, redis.dump(key))) for key in redis.scan_iter()),
    }
    assert "model attempt failed" in runs.logs
    assert [name for name, text in places.items() if KEY in text] == []
    assert "Traceback" not in runs.logs

    document = _document(runs.seen)
    if os.environ.get("PROVIDER_FAULTS") == "write":
        DOCUMENT.write_text(document)
    assert DOCUMENT.read_text().splitlines() == document.splitlines()


def _run_all(runs: Runs, settings: Settings, provider: Provider) -> None:
    provider.always(answers(FALLBACK_TEXT), model="gpt-fallback")
    for fault in FAULTS:
        provider.always(_either(fault), model=MODELS[fault.name])
    chosen: dict[str, object] = {
        **LIMITS,
        "OPENAI_API_KEY": SecretStr(KEY),
        "LOG_LEVEL": "DEBUG",
        "LLM_CACHE_TTL": 60,
        "LLM_MODELS": json.dumps([*MODELS.values()]),
    }
    for fallback in ("", "gpt-fallback"):
        chosen["LLM_FALLBACK_MODEL"] = fallback
        runs.add(settings.model_copy(update=chosen), provider)
    asked = {turn.question: turn for turn in runs.seen}
    for call in provider.calls:
        asked[call.messages[-1]["content"]].calls.append(call)


def _account(row: dict[str, Any]) -> str:
    if row["prompt_tokens"] == 0:
        assert (row["completion_tokens"], row["is_estimated"]) == (0, False), row
        return "none"
    return "estimated" if row["is_estimated"] else "counted"


def _check(turn: Seen) -> None:
    assert turn.http_status == 200, turn
    assert turn.status in {"complete", "failed"}, turn
    assert turn.elapsed < turn.limits * ATTEMPT_SECONDS + turn.pauses * 2 + WORK_SECONDS, turn
    assert turn.fault == REFUSED or len(turn.codes) == len(turn.calls), turn
    was_shown = turn.is_streamed and turn.status == "failed" and turn.text != FALLBACK_RESPONSE
    if turn.fault in ANSWERS:
        assert (turn.status, turn.calls_made.split()[0]) == ("complete", "1"), turn
    elif turn.has_fallback and turn.fault != REFUSED and not was_shown:
        assert (turn.status, turn.text) == ("complete", FALLBACK_TEXT), turn
    else:
        assert turn.status == "failed", turn
    if was_shown:
        assert len(turn.calls) == 1, turn  # what was shown cannot be taken back


def _either(fault: Fault) -> Behaviour:
    async def behave(call: Call, wire: Wire) -> None:
        await (fault.streamed if call.stream else fault.plain)(call, wire)

    return behave


_INTRODUCTION = f"""# What a provider's faults come to

Each line was seen by a test that drives the chat service, as a process, against a provider that has the fault at every
call. `make faults` writes this page again; the tests fail where it is not true any more.

An attempt may take {ATTEMPT_SECONDS:g} s there, a pause in a stream {LIMITS["LLM_STREAM_PAUSE"]:g} s, and a turn
{LIMITS["LLM_TURN_TIMEOUT"]:g} s; a model is asked once more. The breakers are off, so that each turn shows all of its
attempts. *Calls* are requests that the provider got: those for the model that has the fault, and those for the fallback
model, which is well. *Status* is what is stored, and what the client is told. *Tokens* is what the ledger has of the
attempts that had the fault: what the provider counted, our estimate where it counted nothing, or none where it said by
a status that it did nothing, or was not reached. *Time* is what the turn waited for;
besides that there is the work, a fraction of a second. *Both*: plain and streamed come to the same. Where the
connection is refused it is so for both models. The rules are in [attempts, fallback,
deadline](turn-pipeline.md#attempts-fallback-deadline).
"""


def _document(seen: list[Seen]) -> str:
    parts = [_INTRODUCTION]
    for title, has_fallback in (("Without a fallback model", False), ("With a fallback model", True)):
        head = ("Fault", "Answer", "Calls", "HTTP", "Status", "Code", "The client sees", "Tokens", "Time")
        rows = [head, ("---",) * len(head)]
        turns = [turn for turn in seen if turn.has_fallback is has_fallback]
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
