"""Webhook events about accounts. Payloads contain public ids and no personal data."""

from collections.abc import Iterable
from uuid import UUID

from app.database.models import User
from app.database.repositories.webhooks.event_outbox import WebhookEvent


def user_registered(user: User) -> WebhookEvent:
    """Return the event for a new account."""
    return WebhookEvent("user.registered", _payload(user), user_id=user.id)


def user_updated(user: User, changed: Iterable[str]) -> WebhookEvent:
    """Return the event for an update; `changed` are the names of the updated fields."""
    return WebhookEvent("user.updated", {**_payload(user), "changed": sorted(changed)}, user_id=user.id)


def user_erased(user_uuid: UUID) -> WebhookEvent:
    """Return the event for an erased account. It is delivered after the erasure, so that receivers erase their data."""
    return WebhookEvent("user.erased", {"user_id": str(user_uuid)})


def _payload(user: User) -> dict[str, object]:
    return {
        "user_id": str(user.uuid),
        "role": user.role,
        "is_active": user.is_active,
        "is_verified": user.is_verified,
    }
