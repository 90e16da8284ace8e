"""Selection of the messages that fit a model's context window: the newest exchanges, each of them complete.

Pure functions. An exchange is a question with its answer, or a question that has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.graph.model_policy import ModelPolicy
from app.graph.ports.messages import HistoryMessage, ModelMessage, PromptMessage, SessionHistory, Summary
from app.graph.prompts import build_prompt, with_summary
from app.graph.tokens import estimate_tokens_upper_bound, image_tokens, message_text

_MESSAGE_OVERHEAD = 8
"""Tokens of a message besides its text: its role, and the marks of its start and end."""
_MARGIN = 0.05
"""Fraction of the window that stays free, because token counts are estimates."""
_MAX_ANSWER_SHARE = 0.5
"""Maximum fraction of the window that is reserved for the answer."""
_OVERESTIMATE = 4 / 3
"""Factor by which `estimate_tokens_upper_bound` exceeds the real count for plain English."""
_SUMMARIZE_THRESHOLD = 0.75
"""Fraction of the budget from which a summary is generated, so that there is room for the next question."""
_RECENT_SHARE = 0.5
"""Fraction of the budget that the newest messages keep when the others are summarized."""


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """A prompt that fits the context window, and how many earlier messages are in it."""

    messages: list[PromptMessage]
    sent: int
    """Number of earlier messages in the prompt."""
    left_out: int
    """Number of earlier messages that are not in the prompt."""
    summarized: int
    """How many of the messages left out are covered by the summary in the prompt."""


def prompt_budget(policy: ModelPolicy, model: str) -> int | None:
    """Return the maximum number of tokens of a prompt for the model. None: unlimited."""
    window = policy.context_windows.get(model)
    if window is None:
        return None
    largest_answer = int(window * _MAX_ANSWER_SHARE)
    return window - min(policy.sampling_of(model).max_tokens or largest_answer, largest_answer) - int(window * _MARGIN)


def fit_prompt(
    history: SessionHistory, *, instructions: str, question: str, question_depth: int, budget: int | None
) -> FittedPrompt:
    """Build the prompt within `budget` tokens; None: unlimited.

    It always has the instructions and the question, then the summary if messages are left out, then as many of the
    newest exchanges as fit, without a gap.
    """
    exchanges = _exchanges(history.messages)
    fixed = message_tokens(instructions) + message_tokens(question)
    selected = _newest_that_fit(exchanges, None if budget is None else budget - fixed)
    left_out = _count_left_out(selected, question_depth)
    summary = history.summary
    if summary is not None and left_out:
        extended = with_summary(instructions, summary["text"])
        fixed += message_tokens(extended) - message_tokens(instructions)
        if budget is None or fixed <= budget:
            selected = _newest_that_fit(exchanges, None if budget is None else budget - fixed)
            left_out = _count_left_out(selected, question_depth)
            instructions = extended
        else:
            summary = None
    earlier_messages = [
        PromptMessage(role=message["role"], content=message["content"]) for exchange in selected for message in exchange
    ]
    return FittedPrompt(
        messages=build_prompt(instructions, earlier_messages, question),
        sent=len(earlier_messages),
        left_out=left_out,
        summarized=min(left_out, summary["upto_depth"]) if summary else 0,
    )


def exceeds_context_window(question: str, instructions: str, policy: ModelPolicy) -> bool:
    """Return whether the question without any earlier message exceeds the context window of every model.

    Allows for the overestimate of token counts, so that no question is refused that may fit.
    """
    return exceed_context_window(
        [PromptMessage(role="system", content=instructions), PromptMessage(role="user", content=question)], policy
    )


def exceed_context_window(messages: Sequence[ModelMessage], policy: ModelPolicy) -> bool:
    """Return whether messages of which none can be left out exceed the context window of every model; see above."""
    needed = prompt_tokens(messages)
    budgets = (prompt_budget(policy, model) for model in policy.models)
    return all(budget is not None and needed > budget * _OVERESTIMATE for budget in budgets)


def summary_boundary(
    messages: Sequence[HistoryMessage], summary: Summary | None, *, max_messages: int, budget: int | None
) -> int | None:
    """Return the position up to which a session must be summarized so that the next prompt leaves no message out.

    `messages` are the newest of the session, the last answer included, at least as many as a prompt may have.
    `budget` is in tokens; None: unlimited. Returns None where no new summary is needed.
    """
    boundary = summary["upto_depth"] if summary else 0
    exchanges = [exchange for exchange in _exchanges(messages) if exchange[-1]["depth"] > boundary]
    if not exchanges or max_messages == 0:
        return None
    is_complete = exchanges[0][0]["depth"] <= boundary + 1
    if is_complete and _fits(exchanges, max_messages, None if budget is None else int(budget * _SUMMARIZE_THRESHOLD)):
        return None
    while exchanges and not _fits(
        exchanges, int(max_messages * _RECENT_SHARE), None if budget is None else int(budget * _RECENT_SHARE)
    ):
        boundary = exchanges.pop(0)[-1]["depth"]
    return max(boundary, exchanges[0][0]["depth"] - 1) if exchanges else boundary


def message_tokens(text: str) -> int:
    """Estimate the tokens of a message in a prompt; rather too many than too few."""
    return estimate_tokens_upper_bound(text) + _MESSAGE_OVERHEAD


def prompt_tokens(messages: Sequence[ModelMessage]) -> int:
    """Estimate the tokens of a prompt; rather too many than too few."""
    return sum(message_tokens(message_text(message)) + image_tokens(message) for message in messages)


def _exchanges(messages: Sequence[HistoryMessage]) -> list[list[HistoryMessage]]:
    # An answer whose question is not among the messages is also left out.
    exchanges: list[list[HistoryMessage]] = []
    for message in messages:
        if message["role"] == "user":
            exchanges.append([message])
        elif exchanges:
            exchanges[-1].append(message)
    return exchanges


def _newest_that_fit(exchanges: Sequence[list[HistoryMessage]], budget: int | None) -> Sequence[list[HistoryMessage]]:
    if budget is None:
        return exchanges
    first = len(exchanges)
    while first > 0 and (budget := budget - _exchange_tokens(exchanges[first - 1])) >= 0:
        first -= 1
    return exchanges[first:]


def _count_left_out(selected: Sequence[list[HistoryMessage]], question_depth: int) -> int:
    return (selected[0][0]["depth"] if selected else question_depth) - 1


def _fits(exchanges: Sequence[list[HistoryMessage]], max_messages: int, budget: int | None) -> bool:
    if sum(map(len, exchanges)) > max_messages:
        return False
    return budget is None or sum(map(_exchange_tokens, exchanges)) <= budget


def _exchange_tokens(exchange: Sequence[HistoryMessage]) -> int:
    return sum(message_tokens(message["content"]) for message in exchange)
