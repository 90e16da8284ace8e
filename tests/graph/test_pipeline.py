"""The compiled graph, edge by edge: history, prompts and final states."""

import asyncio

import pytest

from app.core.exceptions import DatabaseUnavailableError
from app.graph.ports.messages import PromptMessage
from app.graph.prompts import build_prompt
from tests.graph.graph_runs import SESSION, GraphRun
from tests.support.fakes import INSTRUCTIONS, FakeHistory, completion, conversation


async def test_continue_and_success() -> None:
    run = await GraphRun(completion("\n \n  Good day. \n")).run()
    assert run.nodes == ["preprocess", "llm", "postprocess"]
    assert run.state["status"] == "completed"
    assert run.state["final_response"] == "  Good day."
    metadata = run.state["metadata"]
    assert metadata["model_used"] == "primary-2026"
    assert metadata["tokens_used"] == {"input": 12, "output": 3, "total": 15}
    assert metadata["fallback_model"] is False
    assert "fallback" not in metadata
    assert metadata["attempts"] == 1


@pytest.mark.parametrize("message", ["", "  \n"])
async def test_error_after_preprocess_when_there_is_no_question(message: str) -> None:
    run = await GraphRun().run(message)
    assert run.nodes == ["preprocess", "error_handler"]
    assert (run.state["status"], run.state["error"]) == ("error_handled", "empty_message")
    assert run.model.calls == []


async def test_error_after_preprocess_when_the_history_is_unavailable() -> None:
    run = await GraphRun(history=FakeHistory(error=DatabaseUnavailableError())).run(
        session_id=SESSION, question_depth=1
    )
    assert run.nodes == ["preprocess", "error_handler"]
    assert run.state["error"] == "database_unavailable"
    assert run.state["metadata"]["fallback"] is True


async def test_the_attempt_of_a_cancelled_run_is_recorded() -> None:
    run = GraphRun(None)
    running = asyncio.create_task(run.run())
    await run.model.was_called.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (attempt,) = run.context.attempts
    assert (attempt.completion, attempt.error_code) == (None, None)


async def test_the_model_gets_instructions_history_and_question_in_this_order() -> None:
    history = conversation("My name is Ada.", "Hello Ada.")
    run = await GraphRun(completion(), history=FakeHistory(history)).run(
        " What is my name? ", session_id=SESSION, question_depth=3, context={"tone": "casual"}
    )
    assert run.model.calls[0].messages == [
        {"role": "system", "content": INSTRUCTIONS({"tone": "casual"})},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "What is my name?"},
    ]
    assert run.state["metadata"]["history_messages"] == 2
    assert run.state["metadata"]["context"] == {"tone": "casual"}


async def test_the_history_is_limited_by_the_policy() -> None:
    run = await GraphRun(completion(), history=FakeHistory(conversation(*"0123456789"))).run(
        session_id=SESSION, question_depth=11
    )
    assert [message["content"] for message in run.model.calls[0].messages[1:-1]] == ["6", "7", "8", "9"]


def prompt_messages(*texts: str) -> list[PromptMessage]:
    return [{"role": message["role"], "content": message["content"]} for message in conversation(*texts)]


def test_prompts_alternate_between_user_and_assistant() -> None:
    unanswered: list[PromptMessage] = [*prompt_messages("0", "1", "2"), {"role": "user", "content": "3"}]
    assert build_prompt("Be brief.", unanswered, "4") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "0"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "2\n\n3\n\n4"},
    ]
    assert [message["role"] for message in build_prompt("Be brief.", prompt_messages("0", "1")[1:], "2")] == [
        "system",
        "user",
    ]


@pytest.mark.parametrize("tone", [None, 1, ["casual"], {"a": 1}], ids=repr)
def test_an_invalid_tone_is_ignored(tone: object) -> None:
    assert INSTRUCTIONS({"tone": tone}) == INSTRUCTIONS({})


async def test_a_direct_question_has_no_history() -> None:
    run = await GraphRun(completion(), history=FakeHistory(conversation("secret"))).run()
    assert [message["role"] for message in run.model.calls[0].messages] == ["system", "user"]


async def test_runs_share_nothing() -> None:
    runs = await asyncio.gather(*(GraphRun(completion(str(number))).run(f"Hi {number}") for number in range(20)))
    assert [run.state["final_response"] for run in runs] == [str(number) for number in range(20)]


def test_tone_changes_the_instructions_and_an_unknown_one_does_not() -> None:
    plain, professional, casual = (INSTRUCTIONS(c) for c in ({}, {"tone": "professional"}, {"tone": "casual"}))
    assert len({plain, professional, casual}) == 3
    assert plain in professional
    assert plain in casual
    assert INSTRUCTIONS({"tone": "rude"}) == plain
