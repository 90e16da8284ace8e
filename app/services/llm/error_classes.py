"""Table of what engines' errors mean: our code, whether a retry may help, and whether the model is at fault."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

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

    def matches(self, report: ErrorReport) -> bool:
        if self.statuses and report.status is not None and report.status not in self.statuses:
            return False
        if self.any_wording and report.status in self.statuses:
            return True
        return bool(self.names & report.names) or any(phrase in report.wording for phrase in self.phrases)


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
        ),
        # llama.cpp and Ollama answer 500.
        statuses=_CLIENT_ERRORS | {500},
    ),
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
            {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_balance"}
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
        ),
        statuses=frozenset({400, 402, 403, 429}),
    ),
    _Rule(NO_BALANCE, statuses=frozenset({402}), any_wording=True),
    _Rule(RATE_LIMITED, statuses=frozenset({429}), any_wording=True),
    _Rule(
        SERVER_ERROR,
        names=frozenset(
            {"overloaded_error", "server_overloaded", "unavailable", "internal", "internal_error", "server_error"}
        ),
        phrases=("overloaded", "server is busy", "at capacity"),
        statuses=frozenset(range(500, 600)),
    ),
    _Rule(SERVER_ERROR, statuses=frozenset(range(500, 600)), any_wording=True),
    _Rule(CONFLICT, statuses=frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT}), any_wording=True),
    _Rule(BAD_REQUEST, statuses=_CLIENT_ERRORS, any_wording=True),
)


def classify(report: ErrorReport) -> ErrorClass:
    """Return the meaning of an error. The first row that matches applies."""
    for rule in _RULES:
        if rule.matches(report):
            return rule.meaning
    # Reported without a status: it happened while the engine answered.
    return SERVER_ERROR if report.status is None else REJECTED
