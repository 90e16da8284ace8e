"""Management of API keys by their owners. Every function is restricted to keys of the given user."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.schema_types import new_id
from app.database.models import ApiKey


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to insert."""

    user_id: int
    name: str
    prefix: str
    token_hash: bytes
    scopes: list[str]
    life: timedelta | None
    """Time until it expires. None: it does not expire."""


async def create(session: AsyncSession, new: NewApiKey) -> ApiKey:
    """Insert a key and return it."""
    return (
        await session.scalars(
            insert(ApiKey)
            .values(
                uuid=new_id(),
                user_id=new.user_id,
                name=new.name,
                prefix=new.prefix,
                token_hash=new.token_hash,
                scopes=new.scopes,
                expires_at=None if new.life is None else func.now() + new.life,
            )
            .returning(ApiKey)
        )
    ).one()


async def count(session: AsyncSession, *, user_id: int) -> int:
    """Return the number of the user's keys, including expired ones."""
    return await session.scalar(select(func.count()).where(ApiKey.user_id == user_id)) or 0


async def list_page(session: AsyncSession, *, user_id: int, page: int, size: int) -> tuple[Sequence[ApiKey], int]:
    """Return a page of the user's keys, newest first, and the total number."""
    rows = await session.scalars(
        select(ApiKey).where(ApiKey.user_id == user_id).order_by(ApiKey.id.desc()).offset((page - 1) * size).limit(size)
    )
    return rows.all(), await count(session, user_id=user_id)


async def remove_all(session: AsyncSession, *, user_id: int) -> int:
    """Delete all keys of the user, and return their number."""
    deleted = await session.scalars(delete(ApiKey).where(ApiKey.user_id == user_id).returning(ApiKey.id))
    return len(deleted.all())


async def remove(session: AsyncSession, *, user_id: int, key_uuid: UUID) -> bool:
    """Delete a key of the user. False: there is none."""
    deleted = await session.scalar(
        delete(ApiKey).where(ApiKey.user_id == user_id, ApiKey.uuid == key_uuid).returning(ApiKey.id)
    )
    return deleted is not None
