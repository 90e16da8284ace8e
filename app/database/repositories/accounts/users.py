"""User accounts: creation, search and changes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.schema_types import new_id
from app.database.connection import violated_constraint
from app.database.models import User


class DuplicateUserError(Exception):
    """The email address or username belongs to another account. `field` is `email` or `username`."""

    def __init__(self, field: str) -> None:
        """Take the name of the field."""
        self.field = field
        super().__init__(field)


@dataclass(frozen=True, slots=True)
class NewUser:
    """An account to insert."""

    email: str
    username: str
    password_hash: str
    full_name: str | None = None
    role: str = "user"
    is_verified: bool = False
    requested_username: str | None = None
    """Becomes `username` when the email address is verified."""


async def create(session: AsyncSession, new: NewUser) -> User:
    """Insert an account and return it.

    Raises:
        DuplicateUserError: the email address or username is taken, case-insensitively.

    """
    user = User(
        uuid=new_id(),
        email=new.email,
        username=new.username,
        password_hash=new.password_hash,
        full_name=new.full_name,
        role=new.role,
        is_verified=new.is_verified,
        requested_username=new.requested_username,
    )
    session.add(user)
    with _translate_duplicates():
        # At once instead of at commit, to translate a violation of the unique indexes.
        await session.flush()
    return user


async def get(session: AsyncSession, user_id: int) -> User | None:
    """Return an account by its internal key. None: it was erased."""
    return await session.get(User, user_id)


async def list_page(
    session: AsyncSession,
    *,
    page: int,
    size: int,
    search: str | None = None,
    is_active: bool | None = None,
    role: str | None = None,
) -> tuple[Sequence[User], int]:
    """Return a page of all accounts, newest first, and the total number. Two statements.

    `search` matches literal text in email addresses, usernames and full names, case-insensitively.
    """
    statement = select(User)
    if search:
        columns = (User.email, User.username, User.full_name)
        statement = statement.where(or_(*(column.icontains(search, autoescape=True) for column in columns)))
    if is_active is not None:
        statement = statement.where(User.is_active.is_(is_active))
    if role is not None:
        statement = statement.where(User.role == role)
    total = await session.scalar(select(func.count()).select_from(statement.subquery()))
    rows = await session.scalars(
        statement.order_by(User.created_at.desc(), User.id.desc()).offset((page - 1) * size).limit(size)
    )
    return rows.all(), total or 0


async def find(session: AsyncSession, user_uuid: UUID) -> User | None:
    """Return an account by its public id, for admins. None: there is none."""
    user: User | None = await session.scalar(select(User).where(User.uuid == user_uuid))
    return user


async def lock_active_admins(session: AsyncSession) -> Sequence[int]:
    """Lock all active admins, and return their internal keys.

    A transaction that may remove an admin locks all of them first, in this order: of two admins who remove each other
    concurrently, the second sees that only one is left.
    """
    rows = await session.scalars(
        select(User.id).where(User.role == "admin", User.is_active).order_by(User.id).with_for_update()
    )
    return rows.all()


async def find_and_lock(session: AsyncSession, user_uuid: UUID) -> User | None:
    """Return an account by its public id, and lock it against changes. Active turns of the account are not blocked."""
    statement = select(User).where(User.uuid == user_uuid).with_for_update(key_share=True)
    user: User | None = await session.scalar(statement)
    return user


async def change(session: AsyncSession, user_id: int, values: Mapping[str, Any]) -> User | None:
    """Update columns of an account, and return it. None: it was erased.

    Raises:
        DuplicateUserError: the email address or username is taken, case-insensitively.

    """
    statement = update(User).where(User.id == user_id).values(**values).returning(User)
    with _translate_duplicates():
        user: User | None = await session.scalar(statement, execution_options={"populate_existing": True})
    return user


async def lock(session: AsyncSession, user_id: int) -> bool:
    """Lock an account against changes. False: it was erased.

    Active turns of the account are not blocked: their weaker lock (FOR KEY SHARE) is compatible with this one.
    """
    locked_id = await session.scalar(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    return locked_id is not None


async def has_account(session: AsyncSession, email: str) -> bool:
    """Return whether an email address has an account, case-insensitively."""
    user_id = await session.scalar(select(User.id).where(func.lower(User.email) == func.lower(email)))
    return user_id is not None


async def merge_preferences(
    connection: AsyncConnection, user_id: int, values: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Update some preferences of an account, and return all of them. None: it was erased.

    One statement, so concurrent updates of different preferences are all stored.
    """
    preferences: dict[str, Any] | None = await connection.scalar(
        update(User)
        .where(User.id == user_id)
        .values(preferences=User.preferences.concat(values))
        .returning(User.preferences)
    )
    return preferences


async def set_verified(session: AsyncSession, user_id: int) -> bool:
    """Mark the email address as verified, and set the username to the one requested at registration.

    False: another account has that username, and this one keeps its generated username.
    """
    statement = update(User).where(User.id == user_id)
    try:
        async with session.begin_nested():
            await session.execute(
                statement.values(
                    is_verified=True,
                    username=func.coalesce(User.requested_username, User.username),
                    requested_username=None,
                )
            )
    except IntegrityError as error:
        if violated_constraint(error) != "uq_users_username_lower":
            raise
        await session.execute(statement.values(is_verified=True, requested_username=None))
        return False
    return True


@contextmanager
def _translate_duplicates() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        match violated_constraint(error):
            case "uq_users_email_lower":
                raise DuplicateUserError("email") from error
            case "uq_users_username_lower":
                raise DuplicateUserError("username") from error
            case _:
                raise
