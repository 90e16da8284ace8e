"""What endpoints of webhooks are told of accounts: by public id, and without what is personal."""

from collections.abc import Iterable
from uuid import UUID

from app.database.models import User
from app.database.repositories.webhooks.event_outbox import Event


def registered(user: User) -> Event:
    """Return the event that an account was made."""
    return Event("user.registered", _shown(user), user_id=user.id)


def updated(user: User, changed: Iterable[str]) -> Event:
    """Return the event that these fields of an account were changed."""
    return Event("user.updated", {**_shown(user), "changed": sorted(changed)}, user_id=user.id)


def erased(user_uuid: UUID) -> Event:
    """Return the event that an account was erased. It outlives the account: receivers must forget it, too."""
    return Event("user.erased", {"user_id": str(user_uuid)})


def _shown(user: User) -> dict[str, object]:
    return {
        "user_id": str(user.uuid),
        "role": user.role,
        "is_active": user.is_active,
        "is_verified": user.is_verified,
    }
