"""Erasure of accounts, with a receipt of deleted and retained data."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from redis.asyncio import Redis

from app.auth import webhook_events
from app.auth.login_throttle import account_counter_keys
from app.auth.logins import LoginService
from app.auth.schemas.privacy import ErasureReceipt, ExpiringItem, KeptItem, RemovedItem
from app.auth.users import lock_admin
from app.core.exceptions import ConflictError, ForbiddenError, NotFoundError, UnauthorizedError
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.repositories.accounts import attempt_counters, erasure, users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.erasure import ErasureResult, LockedAccount
from app.database.repositories.audit import audit_log, refusals
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox
from app.services.limits.admission import expensive_operation
from app.services.redis import purge
from app.services.redis.purge import PurgedCopies

_TRANSACTION_TIMEOUT = 300.0
"""Timeout of the whole transaction in seconds. It suffices for about five million messages."""

LockAccount = Callable[[DatabaseSession], Awaitable[LockedAccount]]
"""Locks the account to erase, and raises an error if it must not be erased."""

_LEDGER_REASON = (
    "Model, time and cost of each request to a language model, kept for billing. The references to the account and "
    "the conversation were removed, so the rows cannot be linked to you."
)
_AUDIT_REASON = (
    "Actions with their actor, time and network address, kept as evidence of misuse. They identify you by the "
    "account's id only. Besides them, only the event with which webhooks report the erasure, and marks and request "
    "counters in Redis, have this id; these are deleted after a limited time."
)
_REDIS_REASON = "Redis did not respond. The remaining copies are inaccessible and expire automatically."


@dataclass(frozen=True, slots=True)
class ErasureService:
    """Erases accounts, at the request of their owners or by admins."""

    database: Database
    redis: Redis
    logins: LoginService

    async def erase_own(self, user: Principal, password: str, origin: RequestOrigin) -> ErasureReceipt:
        """Erase the caller's account. All services refuse its logins and API keys from the next request on.

        Raises:
            BadRequestError: the password is wrong.
            TooManyRequestsError: too many wrong passwords.
            ConflictError: the caller is the last active admin, or another request changed the password or the role.
            UnauthorizedError: another request erased the account first.

        """
        async with self.logins.hashing.slot(origin, user.uuid) as hasher:
            password_hash = await self.logins.confirm_password(user, password, origin, hasher)

        async def lock(session: DatabaseSession) -> LockedAccount:
            admins = await users.lock_active_admins(session) if user.role == "admin" else []
            account = await erasure.lock_account(session, user.id)
            if account is None:
                raise UnauthorizedError
            if account.password_hash != password_hash:
                raise ConflictError("Another request changed the password.", code="password_changed")
            if account.role == "admin" and user.id not in admins:
                raise ConflictError("The account was just promoted to admin. Try again.")
            if list(admins) == [user.id]:
                raise ConflictError("This is the last active admin.", code="last_admin")
            return account

        return await self._erase(lock, actor=user.uuid, target=user.uuid, origin=origin)

    async def erase_by_admin(self, admin: Principal, user_uuid: UUID, origin: RequestOrigin) -> ErasureReceipt:
        """Erase another account. The last active admin is safe: it is the caller, who cannot erase the own account.

        Raises:
            NotFoundError: the account does not exist.
            ConflictError: it is the account of the caller, which only its owner's password erases.
            ForbiddenError: the caller was demoted after the request was authorized.

        """

        async def lock(session: DatabaseSession) -> LockedAccount:
            user = await users.find(session, user_uuid)
            locks_all = user is not None and user.role == "admin"
            # An erasure may take minutes. Other admins wait for that of an admin only.
            if locks_all:
                await lock_admin(session, admin)
            elif not await users.is_active_admin(session, admin.id):
                raise ForbiddenError(code="admin_required")
            account = await erasure.lock_account(session, user.id) if user else None
            if account is None:
                raise NotFoundError
            if account.id == admin.id:
                raise ConflictError("Erase your own account with your password, in your profile.", code="own_account")
            if account.role == "admin" and not locks_all:
                raise ConflictError("The account was just promoted to admin. Try again.")
            return account

        return await self._erase(lock, actor=admin.uuid, target=user_uuid, origin=origin)

    async def _erase(self, lock: LockAccount, *, actor: UUID, target: UUID, origin: RequestOrigin) -> ErasureReceipt:
        try:
            async with (
                expensive_operation(),
                self.database.transaction(max_seconds=_TRANSACTION_TIMEOUT) as session,
            ):
                account = await lock(session)
                counters = account_counter_keys(user_id=account.id, email=account.email, username=account.username)
                await attempt_counters.remove(session, [*counters, *refusals.counter_keys(target)])
                erased = await erasure.erase(session, account)
                entry = NewAuditEntry("account.erased", actor=actor, target=target, details={"removed": erased.removed})
                await audit_log.record(session, entry, origin)
                await event_outbox.emit(session, webhook_events.user_erased(target))
        except (ConflictError, ForbiddenError) as error:
            refused = NewAuditEntry(
                "account.erased", actor=actor, target=target, outcome="refused", details={"reason": error.code}
            )
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await refusals.record(connection, refused, origin)
            raise
        copies = await purge.purge_user(self.redis, user_uuid=target, answers=erased.answer_uuids)
        return _build_receipt(erased, copies)


def _build_receipt(erased: ErasureResult, redis: PurgedCopies | None) -> ErasureReceipt:
    removed = [RemovedItem(store="postgresql", what=table, count=count) for table, count in erased.removed.items()]
    expiring = []
    if redis is None:
        expiring = [
            ExpiringItem(store="redis", what=what, reason=_REDIS_REASON)
            for what in ("stream_buffers", "cached_answers")
        ]
    else:
        removed += [
            RemovedItem(store="redis", what="stream_buffers", count=redis.stream_buffers),
            RemovedItem(store="redis", what="cached_answers", count=redis.cached_answers),
        ]
    return ErasureReceipt(
        erased_at=erased.erased_at,
        removed=removed,
        expiring=expiring,
        kept=[
            KeptItem(store="postgresql", what="llm_calls", count=erased.ledger_rows, reason=_LEDGER_REASON),
            # Plus the entry about the erasure itself.
            KeptItem(store="postgresql", what="audit_log", count=erased.audit_entries + 1, reason=_AUDIT_REASON),
        ],
    )
