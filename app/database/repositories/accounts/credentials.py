"""What logins with a password are checked against, and how it changes."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, false, func, select, update
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import AuditEntry, AuthSession, User

_NETWORKS_ARE_KNOWN_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class LoginAccount:
    """As much of an account as a login needs."""

    id: int
    uuid: UUID
    password_hash: str
    role: str
    is_active: bool
    is_verified: bool
    is_known_network: bool
    """Whether the owner has logged in from this network, or has reset the password from it, in the last 30 days."""


async def find_by_login(connection: AsyncConnection, login: str, *, network: str | None = None) -> LoginAccount | None:
    """Return what decides a login with an address or a name, whatever the case."""
    column = User.email if "@" in login else User.username
    row = (
        await connection.execute(
            select(
                User.id,
                User.uuid,
                User.password_hash,
                User.role,
                User.is_active,
                User.is_verified,
                (_logged_in_from(network) | _reset_from(network) if network else false()).label("is_known_network"),
            ).where(func.lower(column) == func.lower(login))
        )
    ).one_or_none()
    return LoginAccount(**row._asdict()) if row else None


async def get_password_hash(connection: AsyncConnection, user_id: int) -> str | None:
    """Return what the account's password is checked against."""
    found: str | None = await connection.scalar(select(User.password_hash).where(User.id == user_id))
    return found


async def replace_password(session: AsyncSession, user_id: int, *, old_hash: str, new_hash: str) -> str | None:
    """Store another hash, if the account still has the one that was checked, and return its address. Locks it."""
    email: str | None = await session.scalar(
        update(User)
        .where(User.id == user_id, User.password_hash == old_hash)
        .values(password_hash=new_hash)
        .returning(User.email)
    )
    return email


async def reset_password(session: AsyncSession, user_id: int, *, new_hash: str) -> None:
    """Store the hash of a password that was chosen through a mailed link."""
    await session.execute(update(User).where(User.id == user_id).values(password_hash=new_hash))


async def note_login(session: AsyncSession, user_id: int, *, password_hash: str) -> bool:
    """Set the time of the last login, if the account is still what was checked. Locks it.

    Whoever changes the password or disables the account locks it too before ending its logins, so no login slips
    through in between.
    """
    noted = await session.scalar(
        update(User)
        .where(User.id == user_id, User.password_hash == password_hash, User.is_active)
        .values(last_login=func.now())
        .returning(User.id)
    )
    return noted is not None


def _logged_in_from(network: str) -> ColumnElement[bool]:
    return (
        select(AuthSession.id)
        .where(
            AuthSession.user_id == User.id,
            AuthSession.ip.op("<<=", is_comparison=True)(sql_cast(network, INET)),
            AuthSession.created_at > func.now() - _NETWORKS_ARE_KNOWN_FOR,
        )
        .exists()
    )


def _reset_from(network: str) -> ColumnElement[bool]:
    return (
        select(AuditEntry.id)
        .where(
            AuditEntry.target_id == User.uuid,
            AuditEntry.action == "password.reset",
            AuditEntry.outcome == "done",
            AuditEntry.ip.op("<<=", is_comparison=True)(sql_cast(network, INET)),
            AuditEntry.created_at > func.now() - _NETWORKS_ARE_KNOWN_FOR,
        )
        .exists()
    )
