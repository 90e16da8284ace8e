"""Transactional outbox of emails, claimed with a lease and sent at least once."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Integer, Interval, Select, String, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.identity import canonical_email
from app.database.models import OutgoingMail, User
from app.database.repositories.accounts import attempt_counters
from app.database.repositories.accounts.addresses import EXACT_ACCOUNT_FIRST, account_has_email
from app.database.repositories.accounts.attempt_counters import AttemptCount

EmailKind = Literal["verify_email", "reset_password", "already_registered", "password_changed", "invitation"]


@dataclass(frozen=True, slots=True)
class ClaimedEmail:
    """An email that this process may send until the lease expires."""

    id: int
    kind: EmailKind
    recipient: str
    attempts: int
    """Number of attempts, including this one. It also distinguishes this claim from later claims of the email."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """The part of an account that decides whether an email is still to be sent."""

    user_id: int
    email: str
    is_active: bool
    is_verified: bool


def _enqueue_statement() -> Select[int, float]:
    counted = attempt_counters.COUNT.cte("counted")
    values = {name: bindparam(f"p_{name}", type_=String) for name in ("kind", "recipient", "recipient_canonical")}
    within_limit = (
        select(*values.values()).select_from(counted).where(counted.c.attempts <= bindparam("p_limit", type_=Integer))
    )
    mail = insert(OutgoingMail).from_select(list(values), within_limit).cte("mail")
    return select(counted.c.attempts, counted.c.seconds).add_cte(mail)


_ENQUEUE = _enqueue_statement()
# A scalar subquery runs once. Rows that another process is claiming are skipped.
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


async def enqueue(
    connection: AsyncSession | AsyncConnection,
    kind: EmailKind,
    recipient: str,
    *,
    counter: str,
    window: timedelta,
    limit: int,
) -> AttemptCount:
    """Count an email under a key, and insert it unless it is over the limit, in the transaction of the caller.

    One statement in either case, because its duration must not reveal whether earlier emails were counted.
    """
    values = {
        "p_keys": [counter],
        "p_window": window,
        "p_limit": limit,
        "p_kind": kind,
        "p_recipient": recipient,
        "p_recipient_canonical": canonical_email(recipient),
    }
    row = (await connection.execute(_ENQUEUE, values)).one()
    return AttemptCount.of(row.attempts, row.seconds)


async def claim(connection: AsyncConnection, *, lease: timedelta) -> ClaimedEmail | None:
    """Claim the longest overdue email, for the duration of `lease`. None: none is due. One statement."""
    row = (await connection.execute(_CLAIM, {"p_lease": lease})).one_or_none()
    return ClaimedEmail(**row._asdict()) if row else None


async def remove(connection: AsyncConnection, mail: ClaimedEmail) -> None:
    """Delete an email that was sent or discarded, unless another process has claimed it since."""
    await connection.execute(delete(OutgoingMail).where(*_is_claimed(mail)))


async def postpone(connection: AsyncConnection, mail: ClaimedEmail, *, delay: timedelta) -> None:
    """Postpone the next attempt by `delay`, unless another process has claimed the email since."""
    await connection.execute(update(OutgoingMail).where(*_is_claimed(mail)).values(next_attempt_at=func.now() + delay))


async def find_recipient(connection: AsyncConnection, address: str) -> Recipient | None:
    """Return the account with an email address, in any spelling. None: there is none."""
    row = (
        await connection.execute(
            select(User.id.label("user_id"), User.email, User.is_active, User.is_verified)
            .where(account_has_email(address))
            .order_by(EXACT_ACCOUNT_FIRST)
            .limit(1)
        )
    ).one_or_none()
    return Recipient(**row._asdict()) if row else None


def _is_claimed(mail: ClaimedEmail) -> tuple[ColumnElement[bool], ...]:
    return OutgoingMail.id == mail.id, OutgoingMail.attempts == mail.attempts
