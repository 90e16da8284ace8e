"""The tables. Importing this package registers all of them on `Base.metadata`."""

from app.database.models.api_key import ApiKey
from app.database.models.audit_entry import AuditEntry
from app.database.models.auth_session import AuthSession
from app.database.models.chat_message import ChatMessage
from app.database.models.chat_session import ChatSession
from app.database.models.idempotency_key import IdempotencyKey
from app.database.models.llm_call import LlmCall
from app.database.models.login_throttle import LoginThrottle
from app.database.models.one_time_token import OneTimeToken
from app.database.models.outgoing_mail import OutgoingMail
from app.database.models.quota_reservation import QuotaReservation
from app.database.models.service_instance import ServiceInstance
from app.database.models.usage import (
    ErrorQuarter,
    LatencyQuarter,
    UsagePending,
    UsageQuarter,
    UsageRepair,
    UserUsageDay,
    UserUsageQuarter,
    UserUsageWeek,
)
from app.database.models.user import User
from app.database.models.webhook_delivery import WebhookDelivery
from app.database.models.webhook_endpoint import WebhookEndpoint
from app.database.models.worker_job import WorkerJob

__all__ = [
    "ApiKey",
    "AuditEntry",
    "AuthSession",
    "ChatMessage",
    "ChatSession",
    "ErrorQuarter",
    "IdempotencyKey",
    "LatencyQuarter",
    "LlmCall",
    "LoginThrottle",
    "OneTimeToken",
    "OutgoingMail",
    "QuotaReservation",
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
