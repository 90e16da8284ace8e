"""Models of all tables. Importing this package registers them on `Base.metadata`."""

from app.database.models.accounts.api_key import ApiKey
from app.database.models.accounts.attempt_counter import AttemptCounter
from app.database.models.accounts.auth_session import AuthSession
from app.database.models.accounts.invitation import Invitation
from app.database.models.accounts.one_time_token import OneTimeToken
from app.database.models.accounts.outgoing_mail import OutgoingMail
from app.database.models.accounts.user import User
from app.database.models.audit.audit_entry import AuditEntry
from app.database.models.chat.chat_import import ChatImport, ImportedSession
from app.database.models.chat.chat_message import ChatMessage
from app.database.models.chat.chat_session import ChatSession
from app.database.models.chat.chat_summary import ChatSummary
from app.database.models.chat.idempotency_key import IdempotencyKey
from app.database.models.chat.message_feedback import MessageFeedback
from app.database.models.operations.service_instance import ServiceInstance
from app.database.models.operations.worker_job import WorkerJob
from app.database.models.search.search_document import SearchBackfill, SearchDocument, SearchOwner, SearchPending
from app.database.models.sharing.chat_share import ChatShare
from app.database.models.usage.llm_call import LlmCall
from app.database.models.usage.quota_reservation import QuotaReservation
from app.database.models.usage.usage_rollups import (
    ErrorQuarter,
    FeedbackQuarter,
    LatencyQuarter,
    ProviderErrorQuarter,
    ProviderLatencyQuarter,
    ProviderUsageQuarter,
    UsagePending,
    UsageQuarter,
    UsageRepair,
    UserUsageDay,
    UserUsageQuarter,
    UserUsageWeek,
)
from app.database.models.webhooks.webhook_delivery import WebhookDelivery
from app.database.models.webhooks.webhook_endpoint import WebhookEndpoint

__all__ = [
    "ApiKey",
    "AttemptCounter",
    "AuditEntry",
    "AuthSession",
    "ChatImport",
    "ChatMessage",
    "ChatSession",
    "ChatShare",
    "ChatSummary",
    "ErrorQuarter",
    "FeedbackQuarter",
    "IdempotencyKey",
    "ImportedSession",
    "Invitation",
    "LatencyQuarter",
    "LlmCall",
    "MessageFeedback",
    "OneTimeToken",
    "OutgoingMail",
    "ProviderErrorQuarter",
    "ProviderLatencyQuarter",
    "ProviderUsageQuarter",
    "QuotaReservation",
    "SearchBackfill",
    "SearchDocument",
    "SearchOwner",
    "SearchPending",
    "ServiceInstance",
    "UsagePending",
    "UsageQuarter",
    "UsageRepair",
    "User",
    "UserUsageDay",
    "UserUsageQuarter",
    "UserUsageWeek",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WorkerJob",
]
