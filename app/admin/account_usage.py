"""Usage of a single account."""

from uuid import UUID

from app.core.exceptions import NotFoundError
from app.database.connection import DatabaseSession
from app.database.repositories.accounts import users
from app.database.repositories.usage import totals
from app.services.usage_schemas import UserUsage


async def get_user_usage(transaction: DatabaseSession, user_uuid: UUID) -> UserUsage:
    """Return the usage of an account by period.

    Raises:
        NotFoundError: the account does not exist.

    """
    user = await users.find(transaction, user_uuid)
    if user is None:
        raise NotFoundError
    return UserUsage.of(await totals.user_totals(transaction, user.id))
