"""Profile updates by account owners."""

from dataclasses import dataclass

from app.auth import webhook_events
from app.auth.registration import already_registered_error
from app.auth.schemas.accounts import ProfileUpdate
from app.auth.schemas.preferences import Preferences, PreferencesUpdate
from app.core.exceptions import UnauthorizedError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.models import User
from app.database.repositories.accounts import users
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.accounts.users import DuplicateUserError
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import event_outbox


@dataclass(frozen=True, slots=True)
class ProfileService:
    """Updates profiles."""

    database: Database

    async def update(self, caller: Principal, update: ProfileUpdate, origin: RequestOrigin) -> User:
        """Update the caller's account and return it.

        Raises:
            BadRequestError: the user name is taken.
            UnauthorizedError: the account has been erased since the caller was checked.

        """
        changes = update.model_dump()  # without the fields that were left out
        try:
            async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
                user = await users.change(session, caller.id, changes)
                if user is None:
                    raise UnauthorizedError
                details = {"changed": sorted(changes)}
                entry = NewAuditEntry("profile.updated", actor=caller.uuid, target=caller.uuid, details=details)
                await audit_log.record(session, entry, origin)
                await event_outbox.emit(session, webhook_events.user_updated(user, changes))
                return user
        except DuplicateUserError as error:
            raise already_registered_error(error.field) from error

    async def update_preferences(self, caller: Principal, update: PreferencesUpdate) -> Preferences:
        """Update preferences of the web application and return all preferences.

        Neither audited nor reported to webhooks: pages change them often, and nothing depends on them.

        Raises:
            UnauthorizedError: the account has been erased since the caller was checked.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            preferences = await users.merge_preferences(connection, caller.id, update.model_dump())
        if preferences is None:
            raise UnauthorizedError
        return Preferences.model_validate(preferences)
