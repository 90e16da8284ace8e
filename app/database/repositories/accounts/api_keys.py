"""API keys as their owners manage them. Every function takes the owner: another's key does not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.types import new_id
from app.database.models import ApiKey


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """What is stored of a new key."""

    user_id: int
    name: str
    prefix: str
    token_hash: bytes
    scopes: list[str]
    life: timedelta | None
    """None: until it is deleted."""


async def create(session: AsyncSession, new: NewApiKey) -> ApiKey:
    """Store a key."""
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
    """Count the owner's keys, expired ones included."""
    return await session.scalar(select(func.count()).where(ApiKey.user_id == user_id)) or 0


async def list_page(session: AsyncSession, *, user_id: int, page: int, size: int) -> tuple[Sequence[ApiKey], int]:
    """Return a page of the owner's keys, newest first, and how many there are."""
    rows = await session.scalars(
        select(ApiKey).where(ApiKey.user_id == user_id).order_by(ApiKey.id.desc()).offset((page - 1) * size).limit(size)
    )
    return rows.all(), await count(session, user_id=user_id)


async def remove_all(session: AsyncSession, *, user_id: int) -> int:
    """Delete the owner's keys, and return how many there were."""
    deleted = await session.scalars(delete(ApiKey).where(ApiKey.user_id == user_id).returning(ApiKey.id))
    return len(deleted.all())


async def remove(session: AsyncSession, *, user_id: int, key_uuid: UUID) -> bool:
    """Delete a key. False: there is none."""
    deleted = await session.scalar(
        delete(ApiKey).where(ApiKey.user_id == user_id, ApiKey.uuid == key_uuid).returning(ApiKey.id)
    )
    return deleted is not None
