"""API keys. Every function but the look-up by the key itself takes the owner: another's key does not exist."""

from datetime import timedelta

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import ApiKey, User
from app.database.repositories.users import Principal

_LAST_USED_PRECISION = timedelta(minutes=1)

_KEY_IS_GOOD = (
    ApiKey.token_hash == bindparam("p_token_hash"),
    or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now()),
)
_FIND = (
    select(User.id, User.uuid, User.role, User.is_verified, ApiKey.uuid.label("key_uuid"), ApiKey.scopes)
    .join(User, ApiKey.user_id == User.id)
    .where(User.is_active, *_KEY_IS_GOOD)
    .add_cte(
        update(ApiKey)
        .where(
            *_KEY_IS_GOOD,
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < func.now() - _LAST_USED_PRECISION),
        )
        .values(last_used_at=func.now())
        .cte("used")
    )
)


async def find_principal(connection: AsyncConnection, *, token_hash: bytes) -> Principal | None:
    """Return the account behind a key, if both are still good, and note that the key was used. One statement."""
    row = (await connection.execute(_FIND, {"p_token_hash": token_hash})).one_or_none()
    if row is None:
        return None
    return Principal(
        id=row.id,
        uuid=row.uuid,
        role=row.role,
        is_verified=row.is_verified,
        session_uuid=None,
        key_uuid=row.key_uuid,
        scopes=frozenset(row.scopes),
    )
