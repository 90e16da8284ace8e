"""Completion from a received answer, or the reason why it is none."""

from app.graph.ports.chat_model import Completion, ModelRequest
from app.graph.tokens import estimate_tokens
from app.services.llm.documents import remove_unstorable
from app.services.llm.errors import (
    ContentFilteredError,
    EmptyAnswerError,
    IncompleteAnswerError,
    ReasoningExhaustedError,
)
from app.services.llm.finish_reasons import LENGTH, TOOL_CALLS, is_filtered, is_incomplete
from app.services.llm.received_answer import ReceivedAnswer

_MAX_NAME_LENGTH = 200


def to_completion(request: ModelRequest, answer: ReceivedAnswer) -> Completion:
    """Return the completion of a request.

    Raises:
        UnusableAnswerError: the answer cannot be used.
        ValueError: it has no end.

    """
    finish_reason, counts = answer.finish_reason, answer.usage.token_counts
    if answer.is_refused or (finish_reason is not None and is_filtered(finish_reason)):
        raise ContentFilteredError(counts)
    if finish_reason is None:
        raise ValueError("the answer has no end")
    tool_calls = answer.tool_calls.calls if request.offers_tools else ()
    if tool_calls and finish_reason != LENGTH:
        finish_reason = TOOL_CALLS  # some engines end such an answer with "stop"
    elif is_incomplete(finish_reason):
        raise IncompleteAnswerError(counts)
    if not answer.text.strip() and not tool_calls:
        if answer.reasoning and finish_reason == LENGTH:
            raise ReasoningExhaustedError(counts)
        raise EmptyAnswerError(counts)
    return Completion(
        text=answer.text,
        model=remove_unstorable(answer.model or request.model)[:_MAX_NAME_LENGTH],
        finish_reason=finish_reason,
        token_counts=answer.usage.completed_by(
            estimate_tokens(request.messages, answer.reasoning + answer.text + answer.tool_calls.text)
        ),
        is_repaired=answer.is_repaired,
        reasoning=answer.reasoning,
        tool_calls=tool_calls,
        logprobs=tuple(answer.logprobs) if request.options.get("logprobs") else (),
    )
