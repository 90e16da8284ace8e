"""What of a conversation goes to the model: the newest exchanges that fit its context window, each of them whole.

Pure functions. An exchange is a question and its answer; a question that got no answer is one by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.graph.model_policy import ModelPolicy
from app.graph.ports.messages import HistoryMessage, PromptMessage, SessionHistory, Summary
from app.graph.prompts import build_prompt, with_summary
from app.graph.tokens import estimate_tokens_upper_bound

_MESSAGE_OVERHEAD = 8
"""Tokens that mark where a message begins and ends, and whose it is."""
_MARGIN = 0.05
"""Part of the window that is left free: tokens are estimated."""
_MAX_ANSWER_SHARE = 0.5
"""Part of the window that is left for the answer at most, whatever the limit of its tokens is."""
_OVERESTIMATE = 4 / 3
"""How many times too large `estimate_tokens_upper_bound` is for plain English."""
_SUMMARIZE_THRESHOLD = 0.75
"""Part of the budget from which on the next question may push something out: it needs room itself."""
_RECENT_SHARE = 0.5
"""Part of the window that is left to the newest messages when the others are summarized."""


@dataclass(frozen=True, slots=True)
class FittedPrompt:
    """What goes to the model, and what of the conversation is in it."""

    messages: list[PromptMessage]
    sent: int
    """Earlier messages among them."""
    left_out: int
    """Earlier messages that are not."""
    summarized: int
    """How many of those the summary that goes along is of."""


def prompt_budget(policy: ModelPolicy, model: str) -> int | None:
    """Return the tokens that a prompt for the model may have; None: as many as there are."""
    window = policy.context_windows.get(model)
    if window is None:
        return None
    largest_answer = int(window * _MAX_ANSWER_SHARE)
    return window - min(policy.sampling.max_tokens or largest_answer, largest_answer) - int(window * _MARGIN)


def fit_prompt(
    history: SessionHistory, *, instructions: str, question: str, question_seq: int, budget: int | None
) -> FittedPrompt:
    """Put together what goes to the model.

    Instructions and question always go, then the summary if messages are left out, then the newest exchanges while
    they fit: none is skipped for an older one.
    """
    exchanges = _exchanges(history.messages)
    fixed = message_tokens(instructions) + message_tokens(question)
    chosen = _newest(exchanges, None if budget is None else budget - fixed)
    left_out = _left_out(chosen, question_seq)
    summary = history.summary
    if summary is not None and left_out:
        extended = with_summary(instructions, summary["text"])
        fixed += message_tokens(extended) - message_tokens(instructions)
        if budget is None or fixed <= budget:
            chosen = _newest(exchanges, None if budget is None else budget - fixed)
            left_out = _left_out(chosen, question_seq)
            instructions = extended
        else:
            summary = None
    earlier_messages = [
        PromptMessage(role=message["role"], content=message["content"]) for exchange in chosen for message in exchange
    ]
    return FittedPrompt(
        messages=build_prompt(instructions, earlier_messages, question),
        sent=len(earlier_messages),
        left_out=left_out,
        summarized=min(left_out, summary["upto_seq"]) if summary else 0,
    )


def exceeds_context_window(question: str, instructions: str, policy: ModelPolicy) -> bool:
    """Tell whether a question does not even fit alone, whichever model is asked.

    Not cautiously: what may be answered is asked.
    """
    budgets = [prompt_budget(policy, model) for model in policy.models]
    needed = message_tokens(question) + message_tokens(instructions)
    return all(room is not None and needed > room * _OVERESTIMATE for room in budgets)


def summary_boundary(
    messages: Sequence[HistoryMessage], summary: Summary | None, *, most_messages: int, budget: int | None
) -> int | None:
    """Tell up to which position a session is to be summarized so that the next question leaves nothing out.

    `messages` are the newest of the session, the last answer included, as many as a question takes along or more.
    None: they and the summary are all there is, and fit.
    """
    upto = summary["upto_seq"] if summary else 0
    exchanges = [exchange for exchange in _exchanges(messages) if exchange[-1]["seq"] > upto]
    if not exchanges or most_messages == 0:
        return None
    is_complete = exchanges[0][0]["seq"] <= upto + 1
    if is_complete and _fits(exchanges, most_messages, None if budget is None else int(budget * _SUMMARIZE_THRESHOLD)):
        return None
    while exchanges and not _fits(
        exchanges, int(most_messages * _RECENT_SHARE), None if budget is None else int(budget * _RECENT_SHARE)
    ):
        upto = exchanges.pop(0)[-1]["seq"]
    return max(upto, exchanges[0][0]["seq"] - 1) if exchanges else upto


def message_tokens(text: str) -> int:
    """Return about how many tokens a message takes of a prompt, rather too many than too few."""
    return estimate_tokens_upper_bound(text) + _MESSAGE_OVERHEAD


def prompt_tokens(messages: Sequence[PromptMessage]) -> int:
    """Return about how many tokens a prompt has, rather too many than too few."""
    return sum(message_tokens(message["content"]) for message in messages)


def _exchanges(messages: Sequence[HistoryMessage]) -> list[list[HistoryMessage]]:
    # An answer whose question is too far back goes with it.
    exchanges: list[list[HistoryMessage]] = []
    for message in messages:
        if message["role"] == "user":
            exchanges.append([message])
        elif exchanges:
            exchanges[-1].append(message)
    return exchanges


def _newest(exchanges: Sequence[list[HistoryMessage]], room: int | None) -> Sequence[list[HistoryMessage]]:
    if room is None:
        return exchanges
    first = len(exchanges)
    while first > 0 and (room := room - _exchange_tokens(exchanges[first - 1])) >= 0:
        first -= 1
    return exchanges[first:]


def _left_out(chosen: Sequence[list[HistoryMessage]], question_seq: int) -> int:
    return (chosen[0][0]["seq"] if chosen else question_seq) - 1


def _fits(exchanges: Sequence[list[HistoryMessage]], most_messages: int, room: int | None) -> bool:
    if sum(map(len, exchanges)) > most_messages:
        return False
    return room is None or sum(map(_exchange_tokens, exchanges)) <= room


def _exchange_tokens(exchange: Sequence[HistoryMessage]) -> int:
    return sum(message_tokens(message["content"]) for message in exchange)
