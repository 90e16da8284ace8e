"""Accounts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.types import new_id
from app.database.connection import violated_constraint
from app.database.models import User


class DuplicateUserError(Exception):
    """The address or the name belongs to another account. `field` says which."""

    def __init__(self, field: str) -> None:
        """Name the field."""
        self.field = field
        super().__init__(field)


@dataclass(frozen=True, slots=True)
class NewUser:
    """What an account starts with."""

    email: str
    username: str
    password_hash: str
    full_name: str | None = None
    role: str = "user"
    is_verified: bool = False
    requested_username: str | None = None
    """Becomes the name when the address is verified."""


async def create(session: AsyncSession, new: NewUser) -> User:
    """Store an account.

    Raises:
        TakenError: address or name is another account's, whatever the case.

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
    with _existing_usernames():
        # Now, not at commit: the unique index is what decides who was first.
        await session.flush()
    return user


async def get(session: AsyncSession, user_id: int) -> User | None:
    """Return the account by its internal key."""
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
    """Return a page of all accounts, newest first, and how many there are. Two statements.

    `search` is looked for, literally and in any case, in addresses and names.
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
    """Return any account by its public id: for admins."""
    found: User | None = await session.scalar(select(User).where(User.uuid == user_uuid))
    return found


async def lock_active_admins(session: AsyncSession) -> Sequence[int]:
    """Lock the admins that can log in, and return their internal keys.

    Whoever may take one away locks them first, before anything else and in this order: of two who take away each
    other, the second sees that only one is left.
    """
    rows = await session.scalars(
        select(User.id).where(User.role == "admin", User.is_active).order_by(User.id).with_for_update()
    )
    return rows.all()


async def find_and_lock(session: AsyncSession, user_uuid: UUID) -> User | None:
    """Return any account by its public id, and keep others from changing it. Its turns run on."""
    statement = select(User).where(User.uuid == user_uuid).with_for_update(key_share=True)
    found: User | None = await session.scalar(statement)
    return found


async def change(session: AsyncSession, user_id: int, values: Mapping[str, Any]) -> User | None:
    """Change these columns of the account, and return it. None: it has been erased.

    Raises:
        TakenError: the name is another account's, whatever the case.

    """
    statement = update(User).where(User.id == user_id).values(**values).returning(User)
    with _existing_usernames():
        changed: User | None = await session.scalar(statement, execution_options={"populate_existing": True})
    return changed


async def lock(session: AsyncSession, user_id: int) -> bool:
    """Wait until nobody else is counting or changing what belongs to the account. False: it has been erased.

    Turns of the account run on: they hold a weaker lock, which this one lets pass.
    """
    found = await session.scalar(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    return found is not None


async def set_verified(session: AsyncSession, user_id: int) -> bool:
    """Note that the owner receives mail at the account's address, and give it the name it was registered with.

    False: somebody else has that name by now, and the account keeps the made-up one.
    """
    verified = update(User).where(User.id == user_id)
    try:
        async with session.begin_nested():
            await session.execute(
                verified.values(
                    is_verified=True,
                    username=func.coalesce(User.requested_username, User.username),
                    requested_username=None,
                )
            )
    except IntegrityError as error:
        if violated_constraint(error) != "uq_users_username_lower":
            raise
        await session.execute(verified.values(is_verified=True, requested_username=None))
        return False
    return True


@contextmanager
def _existing_usernames() -> Iterator[None]:
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
