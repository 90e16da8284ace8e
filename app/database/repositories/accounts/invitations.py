"""Invitations to register, at most one per email address."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.identity import canonical_email
from app.core.schema_types import new_id
from app.database.models import Invitation, User
from app.database.repositories.accounts.addresses import invitation_has_email
from app.database.repositories.operations import batch_deletion


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation to insert."""

    email: str
    role: str
    full_name: str | None
    life: timedelta


@dataclass(frozen=True, slots=True)
class MailableInvitation:
    """The part of an invitation that its email needs."""

    uuid: UUID
    email: str


@dataclass(frozen=True, slots=True)
class UsedInvitation:
    """What an invitation says about the account that is registered with it."""

    uuid: UUID
    role: str
    full_name: str | None


_IS_UNEXPIRED: ColumnElement[bool] = Invitation.expires_at > func.now()
_IS_OPEN: ColumnElement[bool] = _IS_UNEXPIRED & ~(
    select(User.id).where(User.email_canonical == Invitation.email_canonical).exists()
)
"""Condition for invitations whose address has no account yet: somebody may have registered without the invitation."""

_PURGE = batch_deletion.delete_statement(Invitation.id, Invitation.expires_at <= func.now())


async def replace(session: AsyncSession, new: NewInvitation) -> Invitation:
    """Insert an invitation, in place of an earlier one of the same address, and return it.

    The caller has locked the admins, so no other invitation is created concurrently.
    """
    # The second condition is the unique index that the previous release needs.
    await session.execute(
        delete(Invitation).where(
            or_(invitation_has_email(new.email), func.lower(Invitation.email) == func.lower(new.email))
        )
    )
    values = {
        "uuid": new_id(),
        "email": new.email,
        "email_canonical": canonical_email(new.email),
        "full_name": new.full_name,
        "role": new.role,
        "expires_at": func.now() + new.life,
        "created_at": func.now(),
    }
    row = await session.scalars(insert(Invitation).values(values).returning(Invitation))
    invitation: Invitation = row.one()
    return invitation


async def list_page(session: AsyncSession, *, page: int, size: int) -> tuple[Sequence[Invitation], int]:
    """Return a page of the open invitations, newest first, and the total number."""
    statement = select(Invitation).where(_IS_OPEN)
    total = await session.scalar(select(func.count()).select_from(statement.subquery()))
    rows = await session.scalars(
        statement.order_by(Invitation.created_at.desc(), Invitation.id.desc()).offset((page - 1) * size).limit(size)
    )
    return rows.all(), total or 0


async def remove(session: AsyncSession, invitation_uuid: UUID) -> bool:
    """Delete an invitation. False: there is none."""
    removed_id = await session.scalar(
        delete(Invitation).where(Invitation.uuid == invitation_uuid, _IS_UNEXPIRED).returning(Invitation.id)
    )
    return removed_id is not None


async def find_open(connection: AsyncConnection, address: str) -> MailableInvitation | None:
    """Return the open invitation of an address. None: there is none."""
    row = (
        await connection.execute(
            select(Invitation.uuid, Invitation.email).where(invitation_has_email(address), _IS_OPEN).limit(1)
        )
    ).one_or_none()
    return MailableInvitation(**row._asdict()) if row else None


async def is_valid(connection: AsyncConnection, invitation_uuid: UUID, *, email: str) -> bool:
    """Return whether `consume` would accept the invitation now."""
    row = await connection.execute(select(Invitation.id).where(*_is_valid(invitation_uuid, email)))
    return row.first() is not None


async def consume(session: AsyncSession, invitation_uuid: UUID, *, email: str) -> UsedInvitation | None:
    """Delete a valid invitation of the address and return it. None: it is not valid, or was used concurrently."""
    row = (
        await session.execute(
            delete(Invitation)
            .where(*_is_valid(invitation_uuid, email))
            .returning(Invitation.uuid, Invitation.role, Invitation.full_name)
        )
    ).one_or_none()
    return UsedInvitation(**row._asdict()) if row else None


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete up to `limit` expired invitations, and return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)


def _is_valid(invitation_uuid: UUID, email: str) -> tuple[ColumnElement[bool], ...]:
    return (
        Invitation.uuid == invitation_uuid,
        invitation_has_email(email),
        _IS_UNEXPIRED,
    )
