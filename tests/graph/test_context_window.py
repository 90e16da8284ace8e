"""Selection of messages for a context window, as properties of any conversation and model."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.graph.context_window import (
    exceeds_context_window,
    fit_prompt,
    message_tokens,
    prompt_budget,
    prompt_tokens,
    summary_boundary,
)
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import Sampling
from app.graph.ports.messages import HistoryMessage, PromptMessage, SessionHistory, Summary
from app.graph.tokens import estimate_tokens_upper_bound
from tests.support.fakes import INSTRUCTIONS, conversation

TEXTS = st.text(max_size=60)
BUDGETS = st.integers(0, 500)
POLICY = ModelPolicy(
    models=("large", "small"),
    retries_per_model=0,
    attempt_timeout=5,
    history_messages=10,
    instructions=INSTRUCTIONS,
    context_windows={"large": 10_000, "small": 1000},
    sampling=Sampling(max_tokens=200),
)


@st.composite
def sessions(draw: st.DrawFn) -> list[HistoryMessage]:
    """Messages of a session from some position on. Questions may lack an answer; the first message may be one."""
    seq = draw(st.integers(0, 50)) * 2 + 1
    messages: list[HistoryMessage] = []
    if seq > 1 and draw(st.booleans()):
        messages.append({"depth": seq - 1, "role": "assistant", "content": draw(TEXTS)})
    for number in range(draw(st.integers(0, 8))):
        messages.append({"depth": seq + 2 * number, "role": "user", "content": draw(TEXTS)})
        if draw(st.integers(0, 4)):
            messages.append({"depth": seq + 2 * number + 1, "role": "assistant", "content": draw(TEXTS)})
    return messages


@st.composite
def summaries(draw: st.DrawFn) -> Summary | None:
    return {"text": draw(TEXTS), "upto_depth": draw(st.integers(1, 100))} if draw(st.booleans()) else None


def next_seq(messages: list[HistoryMessage]) -> int:
    return (messages[-1]["depth"] if messages else 0) // 2 * 2 + 3


@given(messages=sessions(), summary=summaries(), question=TEXTS, budget=BUDGETS)
def test_a_prompt_has_the_newest_complete_exchanges_within_the_budget(
    messages: list[HistoryMessage], summary: Summary | None, question: str, budget: int
) -> None:
    seq = next_seq(messages)
    prompt = fit_prompt(
        SessionHistory(messages, summary),
        instructions="Be brief.",
        question=question,
        question_depth=seq,
        budget=budget,
    )
    assert prompt.messages[0]["role"] == "system"
    assert prompt.messages[0]["content"].startswith("Be brief.")
    assert prompt.messages[-1]["role"] == "user"
    assert prompt.messages[-1]["content"].endswith(question)
    assert all(first["role"] != second["role"] for first, second in pairwise(prompt.messages))
    if prompt_tokens(prompt.messages) > budget:
        assert [message["content"] for message in prompt.messages] == ["Be brief.", question]
    sent = messages[len(messages) - prompt.sent :]
    if sent:
        assert sent[0]["role"] == "user"
        assert prompt.left_out == sent[0]["depth"] - 1
        assert [text for text in (m["content"] for m in sent) if text not in joined(prompt.messages)] == []
    else:
        assert prompt.left_out == seq - 1


def joined(messages: list[PromptMessage]) -> str:
    return "\n\n".join(message["content"] for message in messages)


@given(messages=sessions(), question=TEXTS, budget=BUDGETS)
def test_no_message_is_left_out_that_fits(messages: list[HistoryMessage], question: str, budget: int) -> None:
    seq = next_seq(messages)
    prompt = fit_prompt(
        SessionHistory(messages), instructions="Be brief.", question=question, question_depth=seq, budget=budget
    )
    earlier = messages[: len(messages) - prompt.sent]
    starts = [number for number, message in enumerate(earlier) if message["role"] == "user"]
    if starts:
        more = [message["content"] for message in messages[starts[-1] :]]
        assert sum(map(message_tokens, more)) + message_tokens("Be brief.") + message_tokens(question) > budget


def test_an_exchange_that_fits_exactly_is_sent() -> None:
    history = SessionHistory(
        [
            HistoryMessage(depth=1, role="user", content="How are you?"),
            HistoryMessage(depth=2, role="assistant", content="Well."),
        ]
    )
    needed = sum(map(message_tokens, ["Be brief.", "And now?", "How are you?", "Well."]))
    sent = [
        fit_prompt(history, instructions="Be brief.", question="And now?", question_depth=3, budget=budget).sent
        for budget in (needed, needed - 1)
    ]
    assert sent == [2, 0]


def test_without_a_known_window_all_messages_are_sent() -> None:
    messages = conversation(*["x" * 100_000] * 4)
    prompt = fit_prompt(SessionHistory(messages), instructions="Be brief.", question="?", question_depth=5, budget=None)
    assert (prompt.sent, prompt.left_out) == (4, 0)


def test_the_summary_is_sent_exactly_when_messages_are_left_out() -> None:
    messages = conversation("old " * 30, "old", "new", "new")
    summary: Summary = {"text": "The user is Ada.", "upto_depth": 2}
    large_window, small_window = (
        fit_prompt(
            SessionHistory(messages, summary), instructions="Be brief.", question="?", question_depth=5, budget=budget
        )
        for budget in (1000, 90)
    )
    assert (large_window.left_out, large_window.summarized) == (0, 0)
    assert "Ada" not in joined(large_window.messages)
    assert (small_window.sent, small_window.left_out, small_window.summarized) == (2, 2, 2)
    assert small_window.messages[0]["content"].startswith("Be brief.\n\nNotes")
    assert small_window.messages[0]["content"].endswith("The user is Ada.")


def test_a_summary_that_does_not_fit_is_neither_sent_nor_counted() -> None:
    summary: Summary = {"text": "x" * 1000, "upto_depth": 2}
    prompt = fit_prompt(
        SessionHistory([], summary), instructions="Be brief.", question="?", question_depth=5, budget=60
    )
    assert len(prompt.messages) == 2
    assert (prompt.left_out, prompt.summarized) == (4, 0)


def test_a_budget_leaves_room_for_the_answer_and_a_margin() -> None:
    assert prompt_budget(POLICY, "large") == 10_000 - 200 - 500
    assert prompt_budget(POLICY, "small") == 1000 - 200 - 50
    assert prompt_budget(POLICY, "unknown") is None
    large_max_tokens = replace(POLICY, sampling=Sampling(max_tokens=5000))
    assert prompt_budget(large_max_tokens, "small") == 1000 - 500 - 50


def test_a_question_is_too_long_if_it_exceeds_every_models_window() -> None:
    question = "word " * 1500
    assert not exceeds_context_window(question, "Be brief.", POLICY)
    assert exceeds_context_window(question, "Be brief.", replace(POLICY, models=("small",)))
    assert not exceeds_context_window(question, "Be brief.", replace(POLICY, models=("small", "unknown")))
    assert exceeds_context_window("word " * 15_000, "Be brief.", POLICY)


@given(messages=sessions(), summary=summaries(), budget=BUDGETS)
def test_a_summary_is_due_when_the_next_prompt_would_leave_messages_out(
    messages: list[HistoryMessage], summary: Summary | None, budget: int
) -> None:
    upto = summary_boundary(messages, summary, max_messages=10, budget=budget)
    reached = summary["upto_depth"] if summary else 0
    unsummarized = [message for message in messages if message["depth"] > reached]
    if upto is None:
        starts = [message["depth"] for message in unsummarized if message["role"] == "user"]
        assert not starts or sum(message_tokens(message["content"]) for message in unsummarized) <= budget
        assert len(unsummarized) <= 11
        return
    assert reached < upto <= messages[-1]["depth"]
    # It ends after a whole exchange, and the messages after it fit together with the next question.
    rest = [message for message in messages if message["depth"] > upto]
    assert not rest or rest[0]["role"] == "user"
    assert sum(message_tokens(message["content"]) for message in rest) <= budget / 2
    assert len(rest) <= 5


def test_without_history_nothing_is_summarized() -> None:
    assert summary_boundary(conversation(*"0123"), None, max_messages=0, budget=None) is None


def test_messages_before_the_loaded_ones_are_summarized() -> None:
    messages = conversation("a", "b", first_seq=7)
    assert summary_boundary(messages, None, max_messages=10, budget=None) == 6
    assert summary_boundary(messages, {"text": "", "upto_depth": 6}, max_messages=10, budget=None) is None


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        # Counted by the tokenizer of SmolLM2, whose vocabulary is small and English.
        ("The quick brown fox jumps over the lazy dog, and then it goes home to rest.", 18),
        ("Где ближайшая станция метро?", 22),
        ("今天天气很好我们去公园散步吧", 28),
        ("3.14159265358979, 1024, 2048, 384400", 36),
    ],
    ids=["English", "Russian", "Chinese", "figures"],
)
def test_token_estimates_are_not_too_low(text: str, tokens: int) -> None:
    assert estimate_tokens_upper_bound(text) >= tokens * 0.9


def test_token_estimates_of_english_are_not_far_too_high() -> None:
    assert estimate_tokens_upper_bound("The quick brown fox jumps over the lazy dog. " * 100) <= 1000 * 1.7
