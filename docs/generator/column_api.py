"""In which fields of the API each column appears: fields with its name, and those listed here."""

from collections.abc import Mapping

from pydantic import AliasChoices, BaseModel

from app.admin.schemas.audit import AuditEntryShown
from app.admin.schemas.sessions import MessageInfo, SessionFacts
from app.admin.schemas.shares import ShareFacts
from app.admin.schemas.system import InstanceState, JobState
from app.admin.schemas.webhooks import DeliveryDetail, WebhookResponse
from app.auth.schemas.accounts import AdminUserResponse, UserResponse
from app.auth.schemas.api_keys import ApiKeyResponse
from app.auth.schemas.invitations import InvitationResponse
from app.auth.schemas.logins import LoginResponse
from app.chat.schemas.feedback import FeedbackResponse
from app.chat.schemas.messages import MessageResponse
from app.chat.schemas.sessions import SessionDetail, SessionSummary
from app.chat.schemas.shares import ShareResponse
from app.chat.schemas.transfer import ImportResponse

_SCHEMAS: Mapping[str, tuple[type[BaseModel], ...]] = {
    "api_keys": (ApiKeyResponse,),
    "audit_log": (AuditEntryShown,),
    "auth_sessions": (LoginResponse,),
    "chat_imports": (ImportResponse,),
    "chat_messages": (MessageResponse, MessageInfo),
    "chat_sessions": (SessionDetail, SessionSummary, SessionFacts),
    "chat_shares": (ShareResponse, ShareFacts),
    "invitations": (InvitationResponse,),
    "message_feedback": (FeedbackResponse,),
    "service_instances": (InstanceState,),
    "users": (UserResponse, AdminUserResponse),
    "webhook_deliveries": (DeliveryDetail,),
    "webhook_endpoints": (WebhookResponse,),
    "worker_jobs": (JobState,),
}
"""Schemas of the rows of a table. A column appears in their fields with its name, or which are read from it."""

_OTHER: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("auth_sessions", "rotated_at"): ("LoginResponse.last_used_at",),
    ("chat_imports", "done_count"): ("ImportResponse.sessions_done",),
    ("chat_imports", "session_count"): ("ImportResponse.sessions_total",),
    ("chat_imports", "uuid"): ("ImportResponse.import_id",),
    ("chat_messages", "uuid"): ("MessageResponse.id", "MessageInfo.id"),
    ("chat_messages", "updated_at"): ("MessageResponse.timestamp", "MessageInfo.updated_at"),
    ("chat_messages", "session_id"): ("SessionDetail.session_id",),
    ("chat_sessions", "is_active"): ("SessionDetail.is_archived",),
    ("chat_summaries", "content"): ("SessionText.summary",),
    ("chat_sessions", "last_message_at"): ("SessionSummary.last_message_timestamp",),
    ("chat_sessions", "metadata"): ("SessionDetail.context",),
    ("chat_sessions", "uuid"): ("SessionDetail.session_id", "SessionSummary.session_id"),
    ("chat_shares", "includes_models"): ("ShareResponse.include_models",),
    ("chat_shares", "messages"): ("SharedConversation.messages",),
    ("chat_shares", "uuid"): ("ShareResponse.id", "ShareFacts.id"),
    ("llm_calls", "completion_tokens"): ("Usage.completion_tokens", "UsageRow.completion_tokens"),
    ("llm_calls", "cost_usd"): ("Usage.cost_usd", "UsageRow.cost_usd"),
    ("llm_calls", "error_code"): ("ErrorRow.error_code",),
    ("llm_calls", "model_requested"): ("UsageRow.group", "ModelRow.model"),
    ("llm_calls", "prompt_tokens"): ("Usage.prompt_tokens", "UsageRow.prompt_tokens"),
    ("service_instances", "id"): ("InstanceState.instance_id",),
    ("error_quarters", "calls"): ("ErrorRow.calls",),
    ("error_quarters", "error_code"): ("ErrorRow.error_code",),
    ("error_quarters", "model"): ("ErrorRow.model",),
    ("feedback_quarters", "model"): ("FeedbackRow.group",),
    ("feedback_quarters", "quarter"): ("FeedbackRow.start",),
    ("feedback_quarters", "rating"): ("FeedbackRow.up", "FeedbackRow.down"),
    ("feedback_quarters", "ratings"): ("FeedbackRow.ratings",),
    ("feedback_quarters", "reason"): ("FeedbackRow.group",),
    ("latency_quarters", "bucket"): ("LatencyRow.latency_p50_ms",),
    ("latency_quarters", "first_tokens"): ("LatencyRow.streams",),
    ("latency_quarters", "latencies"): ("LatencyRow.calls",),
    ("latency_quarters", "model"): ("LatencyRow.model",),
    ("latency_quarters", "quarter"): ("LatencyRow.start",),
    ("users", "quota_cost_per_day"): ("CostAllowance.limit",),
    ("users", "quota_cost_per_month"): ("CostAllowance.limit",),
    ("users", "quota_tokens_per_day"): ("TokenAllowance.limit",),
    ("users", "quota_tokens_per_month"): ("TokenAllowance.limit",),
    ("quota_reservations", "cost_usd"): ("CostAllowance.reserved",),
    ("quota_reservations", "tokens"): ("TokenAllowance.reserved",),
    ("webhook_deliveries", "event_id"): ("DeliveryDetail.id",),
}
_COUNTERS: Mapping[str, str] = {
    "calls": "calls",
    "turns": "turns",
    "cancelled": "turns_cancelled",
    "fallback": "turns_by_fallback",
    "cached": "turns_cached",
    "estimated": "calls_estimated",
    "unpriced": "calls_unpriced",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "cost_usd": "cost_usd",
}
"""Fields of `UsageFigures` by the counters of the roll-ups."""
_ROLLUPS: Mapping[str, str] = {
    "usage_quarters": "UsageRow",
    "user_usage_quarters": "UsageRow",
    "user_usage_days": "UserRow",
    "user_usage_weeks": "UserRow",
}


def fields(table: str, column: str, attribute: str) -> list[str]:
    """Return the fields of the API in which a column appears, as `Schema.field`."""
    if (table, column) in _OTHER:
        return list(_OTHER[table, column])
    if table in _ROLLUPS and column in _COUNTERS:
        return [f"{_ROLLUPS[table]}.{_COUNTERS[column]}"]
    return [
        f"{schema.__name__}.{name}"
        for schema in _SCHEMAS.get(table, ())
        for name, field in schema.model_fields.items()
        if attribute in _sources(name, field.validation_alias) and column != "id"
    ]


def _sources(name: str, alias: str | AliasChoices | object | None) -> set[str]:
    if isinstance(alias, AliasChoices):
        return {str(choice) for choice in alias.choices}
    return {str(alias)} if alias else {name}
