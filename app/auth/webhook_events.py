"""What endpoints of webhooks are told of accounts: by public id, and without what is personal."""

from collections.abc import Iterable
from uuid import UUID

from app.database.models import User
from app.database.repositories.webhooks.event_outbox import WebhookEvent


def registered(user: User) -> WebhookEvent:
    """Return the event that an account was made."""
    return WebhookEvent("user.registered", _shown(user), user_id=user.id)


def updated(user: User, changed: Iterable[str]) -> WebhookEvent:
    """Return the event that these fields of an account were changed."""
    return WebhookEvent("user.updated", {**_shown(user), "changed": sorted(changed)}, user_id=user.id)


def erased(user_uuid: UUID) -> WebhookEvent:
    """Return the event that an account was erased. It outlives the account: receivers must forget it, too."""
    return WebhookEvent("user.erased", {"user_id": str(user_uuid)})


def _shown(user: User) -> dict[str, object]:
    return {
        "user_id": str(user.uuid),
        "role": user.role,
        "is_active": user.is_active,
        "is_verified": user.is_verified,
    }
