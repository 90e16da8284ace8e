"""Translation of violated constraints: a race with another request is an error of the client, not of the service.

A request reads the rows that it refers to, then writes. If another request deletes or inserts rows in between,
PostgreSQL refuses the write with the name of a constraint. Repositories handle the constraints that need a particular
response; all others are translated here, where every transaction ends.
"""

from functools import cache
from typing import Final

from sqlalchemy.exc import IntegrityError

from app.core.exceptions import AppError, ConflictError, NotFoundError, UnauthorizedError
from app.database.models import User

_TRIGGER_CONSTRAINTS: Final = {"chat_messages_place": "chat_messages"}
"""Foreign keys that a trigger checks, with the table that they refer to."""
_FOREIGN_KEY_VIOLATION: Final = "23503"
_UNIQUE_VIOLATION: Final = "23505"
"""PostgreSQL manual, appendix A."""


def violated_constraint(error: BaseException) -> str | None:
    """Return the name of the constraint that an error reports as violated. None: it reports none."""
    name = getattr(_driver_error(error), "constraint_name", None)
    return str(name) if name else None


def translated(error: BaseException) -> AppError | None:
    """Return the error of the application for a violated constraint. None: the error is not caused by a race.

    A missing account is that of the caller, so the response is 401: operations on other accounts lock them first.
    """
    match getattr(_driver_error(error), "sqlstate", None):
        case str(sqlstate) if sqlstate == _FOREIGN_KEY_VIOLATION:
            match referred_tables().get(violated_constraint(error) or ""):
                case None:
                    return None
                case "users":
                    return UnauthorizedError()
                case _:
                    return NotFoundError("It was deleted while the request was being processed.")
        case str(sqlstate) if sqlstate == _UNIQUE_VIOLATION:
            return ConflictError("Another request has stored the same at this moment.")
        case _:
            return None


@cache
def referred_tables() -> dict[str, str]:
    """Return the table that each foreign key refers to."""
    keys = {
        str(key.name): key.referred_table.name
        for table in User.metadata.tables.values()
        for key in table.foreign_key_constraints
    }
    return keys | _TRIGGER_CONSTRAINTS


def _driver_error(error: BaseException) -> object:
    return error.orig.__cause__ if isinstance(error, IntegrityError) and error.orig else error
