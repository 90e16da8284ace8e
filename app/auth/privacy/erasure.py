"""Erasing an account: what goes, what stays, and the receipt."""

from dataclasses import dataclass

from redis.asyncio import Redis

from app.auth import webhook_events
from app.auth.login_throttle import account_counter_keys
from app.auth.logins import LoginService
from app.auth.schemas.privacy import ErasureReceipt, ExpiringItem, KeptItem, RemovedItem
from app.core.exceptions import ConflictError, UnauthorizedError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.accounts import attempt_counters, erasure, users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.erasure import ErasureResult
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox
from app.services.redis import keys
from app.services.redis.keys import PurgedCopies

_MOST_SECONDS = 300.0
"""For the whole transaction: about five million messages."""

_LEDGER_STAYS = (
    "What models were asked, when, and what it cost. Taken out of it were the account and the conversation: "
    "nothing in a row leads back to you."
)
_AUDIT_STAYS = (
    "Who did what, when, from which network address, to prove misuse. You are in it by the account's id, which nothing "
    "else knows any more."
)
_COPIES_EXPIRE = "Redis did not answer. What it still holds can be reached by nobody, and expires by itself."


@dataclass(frozen=True, slots=True)
class ErasureService:
    """Decides who may erase what."""

    database: Database
    redis: Redis
    logins: LoginService

    async def erase(self, user: Principal, password: str, origin: RequestOrigin) -> ErasureReceipt:
        """Erase the caller's account. Its logins and keys are void at once, on all services.

        Raises:
            BadRequestError: the password is wrong.
            TooManyRequestsError: too many wrong ones.
            ConflictError: no admin would be left, or the password was changed by somebody else meanwhile.
            UnauthorizedError: somebody else was faster.

        """
        password_hash = await self.logins.confirm_password(user, password, origin)
        try:
            erased = await self._erase(user, password_hash, origin)
        except ConflictError as error:
            refused = NewAuditEntry(
                "account.erased", actor=user.uuid, target=user.uuid, outcome="refused", details={"reason": error.code}
            )
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await audit_log.record(connection, refused, origin)
            raise
        return _receipt(erased, await keys.purge_user(self.redis, user_uuid=user.uuid, answers=erased.answers))

    async def _erase(self, user: Principal, password_hash: str, origin: RequestOrigin) -> ErasureResult:
        async with self.database.transaction(max_seconds=_MOST_SECONDS) as session:
            admins = await users.lock_active_admins(session) if user.role == "admin" else []
            account = await erasure.lock_account(session, user.id)
            if account is None:
                raise UnauthorizedError
            if account.password_hash != password_hash:
                raise ConflictError("The password was changed meanwhile.", code="password_changed")
            if account.role == "admin" and user.id not in admins:
                raise ConflictError("The account has just been made an admin's. Try again.")
            if list(admins) == [user.id]:
                raise ConflictError("The last active admin must stay.", code="last_admin")
            counters = account_counter_keys(user_id=account.id, email=account.email, username=account.username)
            await attempt_counters.forget(session, counters)
            erased = await erasure.erase(session, account)
            entry = NewAuditEntry(
                "account.erased", actor=user.uuid, target=user.uuid, details={"removed": erased.removed}
            )
            await audit_log.record(session, entry, origin)
            await event_outbox.emit(session, webhook_events.erased(user.uuid))
            return erased


def _receipt(erased: ErasureResult, redis: PurgedCopies | None) -> ErasureReceipt:
    removed = [RemovedItem(store="postgresql", what=table, count=count) for table, count in erased.removed.items()]
    expiring = []
    if redis is None:
        expiring = [
            ExpiringItem(store="redis", what=what, reason=_COPIES_EXPIRE)
            for what in ("stream_buffers", "cached_answers")
        ]
    else:
        removed += [
            RemovedItem(store="redis", what="stream_buffers", count=redis.stream_buffers),
            RemovedItem(store="redis", what="cached_answers", count=redis.cached_answers),
        ]
    return ErasureReceipt(
        erased_at=erased.at,
        removed=removed,
        expiring=expiring,
        kept=[
            KeptItem(store="postgresql", what="llm_calls", count=erased.ledger_rows, reason=_LEDGER_STAYS),
            # And the entry about the erasure.
            KeptItem(store="postgresql", what="audit_log", count=erased.audit_entries + 1, reason=_AUDIT_STAYS),
        ],
    )
