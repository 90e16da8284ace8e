"""Table of what engines' errors mean: our code, whether a retry may help, and whether the model is at fault."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

from app.core.text import normal_form
from app.graph.ports.chat_model import ModelError
from app.services.llm.error_reports import ErrorReport


@dataclass(frozen=True, slots=True)
class ErrorClass:
    """Meaning of an error."""

    code: str
    """As in the metadata of a failed answer."""
    retryable: bool
    """Whether the same request to the same model may succeed."""
    is_model_fault: bool
    """Whether it counts against the model's health: it concerns other requests too."""

    def to_model_error(self, *, retry_after: float | None = None, may_have_used_tokens: bool = False) -> ModelError:
        """Return the error for the graph."""
        return ModelError(
            self.code,
            retryable=self.retryable,
            retry_after=retry_after,
            is_model_fault=self.is_model_fault,
            may_have_used_tokens=may_have_used_tokens,
        )


@dataclass(frozen=True, slots=True)
class _Rule:
    """A row of the table: it applies if one of its names or phrases occurs, in a response with one of its statuses."""

    meaning: ErrorClass
    names: frozenset[str] = frozenset()
    """Codes, types and reasons, in lower case."""
    phrases: tuple[str, ...] = ()
    """Parts of messages, in lower case: some engines send no code."""
    statuses: frozenset[int] = frozenset()
    """Statuses for which names and phrases count; empty: all. Reports without a status are matched too."""
    any_wording: bool = False
    """Whether the status alone is sufficient."""

    def matches(self, report: ErrorReport, sent: "_SentTexts") -> bool:
        if self.statuses and report.status is not None and report.status not in self.statuses:
            return False
        if self.any_wording and report.status in self.statuses:
            return True
        if self.names & (report.names - report.quoted_names):
            return True
        quoted = [*(self.names & report.quoted_names), *(phrase for phrase in self.phrases if phrase in report.wording)]
        if self.meaning.is_model_fault and report.status in _CLIENT_ERRORS:
            # Engines quote the refused request, such as a question or the name of a function: no user must be able to
            # suspend a model with it.
            return bool(quoted) and not sent.contain(quoted)
        # Gateways quote the error of an engine in their message.
        return bool(quoted) or any("_" in name and name in report.wording for name in self.names)


TOO_LONG: Final = ErrorClass("prompt_too_long", retryable=False, is_model_fault=False)
REFUSED: Final = ErrorClass("provider_refused", retryable=False, is_model_fault=False)
NO_BALANCE: Final = ErrorClass("provider_quota_exceeded", retryable=False, is_model_fault=True)
RATE_LIMITED: Final = ErrorClass("provider_rate_limited", retryable=True, is_model_fault=True)
SERVER_ERROR: Final = ErrorClass("provider_error", retryable=True, is_model_fault=True)
CONFLICT: Final = ErrorClass("provider_rejected", retryable=True, is_model_fault=True)
BAD_REQUEST: Final = ErrorClass("provider_rejected", retryable=False, is_model_fault=False)
REJECTED: Final = ErrorClass("provider_rejected", retryable=False, is_model_fault=True)

_CLIENT_ERRORS: Final = frozenset({400, 413, 422})
"""Statuses that are specific to one request. A wrong key or an unknown model concerns all requests."""
_LABELS: Final = frozenset({"role", "type"})
"""Fields of messages and of their parts that separate the texts in them."""
_MAX_COMPARED: Final = 100_000
"""Length of the texts of a request that are compared with an error. In longer ones it may occur."""

_RULES: Final = (
    _Rule(
        TOO_LONG,
        names=frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}),
        phrases=(
            "context length",
            "context_length",
            "n_ctx",
            "context window",
            "context size",
            "available context",
            "prompt is too long",
            "prompt too long",
            "input is too long",
            "too many input tokens",
            "reduce the length of",
            "exceeds the maximum number of tokens",
            "exceeds the maximum allowed input length",
            "exceeds maximum input length",
            "too large for model",
            "input tokens exceed",
            "exceed context limit",
            "contextwindowexceedederror",
            "exceeded model token limit",
            "length of all messages is too long",
            "maximum prompt length",
            "max_new_tokens` must be <=",
            "max_tokens must be at least 1, got -",  # vLLM: the prompt leaves no room
            "prompt 超长",
            "range of input length",
            "too many tokens",
        ),
        # llama.cpp and Ollama answer 500.
        statuses=_CLIENT_ERRORS | {500},
    ),
    # More than the limit of a minute in one request, which no later time permits.
    _Rule(TOO_LONG, phrases=("request too large for",), statuses=frozenset({429})),
    _Rule(
        REFUSED,
        names=frozenset(
            {
                "blocklist",
                "content_filter",
                "content_policy_violation",
                "content_filter_result",
                "content_filtered",
                "data_inspection_failed",
                "flagged_input",
                "inputtextsensitivecontentdetected",
                "outputtextsensitivecontentdetected",
                "sensitivecontentdetected",
                "datainspectionfailed",
                "moderation_blocked",
                "prohibited_content",
                "recitation",
                "responsibleaipolicyviolation",
                "safety",
                "spii",
            }
        ),
        phrases=(
            "content management policy",
            "content filter",
            "content policy",
            "content exists risk",
            "inappropriate content",
            "flagged",
            "moderation",
            "safety system",
            "usage polic",
            "contentpolicyviolationerror",
            "sensitive content",
            "sensitive information",
            "敏感内容",
        ),
        statuses=_CLIENT_ERRORS | {403, 451},
    ),
    _Rule(
        RATE_LIMITED,
        # Gemini's limits for each minute are worded like an exceeded quota.
        names=frozenset({"resource_exhausted", "rate_limit_exceeded", "rate_limit_error", "too_many_requests"}),
    ),
    _Rule(
        NO_BALANCE,
        names=frozenset(
            {
                "accountoverdueerror",
                "arrearage",
                "billing_hard_limit_reached",
                "billing_not_active",
                "exceeded_current_quota_error",
                "insufficient_balance",
                "insufficient_quota",
            }
        ),
        phrases=(
            "insufficient balance",
            "insufficient credit",
            "insufficient funds",
            "requires more credits",
            "credit balance is too low",
            "exceeded your current quota",
            "billing hard limit",
            "account is not active",
            "in arrears",
            "budget has been exceeded",
            "余额不足",
        ),
        statuses=frozenset({400, 402, 403, 422, 429}),
    ),
    _Rule(NO_BALANCE, statuses=frozenset({402}), any_wording=True),
    _Rule(RATE_LIMITED, statuses=frozenset({429}), any_wording=True),
    _Rule(
        SERVER_ERROR,
        names=frozenset(
            {
                *("overloaded_error", "server_overloaded", "unavailable", "provider_unavailable"),
                *("internal", "internal_error", "server_error"),
            }
        ),
        phrases=("overloaded", "server is busy", "at capacity"),
        statuses=frozenset(range(500, 600)),
    ),
    _Rule(SERVER_ERROR, statuses=frozenset(range(500, 600)), any_wording=True),
    # A wrong key concerns all requests; Gemini reports it as an invalid one.
    _Rule(REJECTED, names=frozenset({"api_key_invalid", "invalid_api_key"}), phrases=("api key not valid",)),
    # So does an unknown model; some engines report it with 400.
    _Rule(
        REJECTED,
        names=frozenset({"model_decommissioned", "model_not_found"}),
        phrases=("has been decommissioned", "is not a valid model id", "invalid model name"),
        statuses=frozenset({400, 404, 422}),
    ),
    _Rule(CONFLICT, statuses=frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT}), any_wording=True),
    _Rule(BAD_REQUEST, statuses=_CLIENT_ERRORS, any_wording=True),
)


def classify(report: ErrorReport, sent: Mapping[str, Any] | None = None) -> ErrorClass:
    """Return the meaning of an error. The first row that matches applies.

    `sent` is the body of the request. What it contains is no evidence that the model is at fault.
    """
    texts = _SentTexts(sent or {})
    for rule in _RULES:
        if rule.matches(report, texts):
            return rule.meaning
    # Reported without a status: it happened while the engine answered.
    return SERVER_ERROR if report.status is None else REJECTED


class _SentTexts:
    """All texts in a request."""

    def __init__(self, sent: Mapping[str, Any]) -> None:
        self._sent = sent

    def contain(self, texts: list[str]) -> bool:
        """Return whether all of some texts may occur, whatever the white space, punctuation and letter case."""
        content = self._letters
        return content is None or all(_letters(text) in content for text in texts)

    @cached_property
    def _letters(self) -> str | None:
        """None: there is so much text that its comparison would take too long."""
        text = _text_of(self._sent)
        return _letters(text) if len(text) <= _MAX_COMPARED else None


def _letters(text: str) -> str:
    # Engines may normalize a text or remove characters before they quote it.
    return "".join(re.findall(r"[^\W_]+", normal_form("NFKC", text).casefold()))


def _text_of(document: object) -> str:
    """Return all texts and names in a document. Those of consecutive messages and parts follow each other."""
    texts: list[str] = []
    others: list[str] = []
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list | tuple):
            pending.extend(reversed(value))
        elif isinstance(value, Mapping):
            others += value
            for name, each in reversed([*value.items()]):
                if name in _LABELS and isinstance(each, str):
                    others.append(each)
                else:
                    pending.append(each)
    return "".join([*texts, *others])
