"""The outbox: mail that is to be sent, once or in rare cases twice, and never by two processes at a time."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Interval, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import OutgoingMail, User

EmailKind = Literal["verify_email", "reset_password", "already_registered", "password_changed"]


@dataclass(frozen=True, slots=True)
class ClaimedEmail:
    """A mail that this process may send until its lease is over."""

    id: int
    kind: EmailKind
    recipient: str
    attempts: int
    """This one and those before it. Also tells this claim from a later one of the same mail."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """As much of the account behind an address as decides whether a mail still applies."""

    user_id: int
    email: str
    is_active: bool
    is_verified: bool


# The subquery runs once: a row that another process is claiming is passed over, not waited for.
_CLAIM = (
    update(OutgoingMail)
    .where(
        OutgoingMail.id
        == select(OutgoingMail.id)
        .where(OutgoingMail.next_attempt_at <= func.now())
        .order_by(OutgoingMail.next_attempt_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    .values(attempts=OutgoingMail.attempts + 1, next_attempt_at=func.now() + bindparam("p_lease", type_=Interval))
    .returning(OutgoingMail.id, OutgoingMail.kind, OutgoingMail.recipient, OutgoingMail.attempts)
)


async def enqueue(connection: AsyncSession | AsyncConnection, kind: EmailKind, recipient: str) -> None:
    """Ask for a mail, in the transaction of what calls for it."""
    await connection.execute(insert(OutgoingMail).values(kind=kind, recipient=recipient))


async def claim(connection: AsyncConnection, *, lease: timedelta) -> ClaimedEmail | None:
    """Take the mail that has been due for longest. Nobody else gets it until `lease` is over. One statement."""
    row = (await connection.execute(_CLAIM, {"p_lease": lease})).one_or_none()
    return ClaimedEmail(**row._asdict()) if row else None


async def remove(connection: AsyncConnection, mail: ClaimedEmail) -> None:
    """Forget a mail that was sent or never will be, unless somebody else has claimed it since."""
    await connection.execute(delete(OutgoingMail).where(*_is_still(mail)))


async def postpone(connection: AsyncConnection, mail: ClaimedEmail, *, delay: timedelta) -> None:
    """Have a mail tried again after `delay`, unless somebody else has claimed it since."""
    await connection.execute(update(OutgoingMail).where(*_is_still(mail)).values(next_attempt_at=func.now() + delay))


async def find_recipient(connection: AsyncConnection, address: str) -> Recipient | None:
    """Return the account of an address, whatever the case."""
    row = (
        await connection.execute(
            select(User.id.label("user_id"), User.email, User.is_active, User.is_verified).where(
                func.lower(User.email) == func.lower(address)
            )
        )
    ).one_or_none()
    return Recipient(**row._asdict()) if row else None


def _is_still(mail: ClaimedEmail) -> tuple[ColumnElement[bool], ...]:
    return OutgoingMail.id == mail.id, OutgoingMail.attempts == mail.attempts
