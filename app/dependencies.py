"""What routes may ask for, as annotated aliases."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from redis.asyncio import Redis

from app.config import Settings
from app.core.exceptions import ForbiddenError, UnauthorizedError
from app.core.security import AccessTokens, InvalidTokenError
from app.database.connection import PATIENCE, Database, DatabaseSession
from app.database.repositories import users
from app.database.repositories.users import Principal


@dataclass(frozen=True, slots=True)
class Resources:
    """What every service opens at start and closes at the end, in the reverse order."""

    settings: Settings
    database: Database
    redis: Redis
    tokens: AccessTokens


def get_resources(request: Request) -> Resources:
    """Return the process's resources, from the lifespan's state."""
    resources: Resources = request.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]


def get_database(resources: ResourcesDep) -> Database:
    """Return the pool, for routes that must not hold a connection all the time."""
    return resources.database


DatabaseDep = Annotated[Database, Depends(get_database)]


async def get_session(database: DatabaseDep) -> AsyncIterator[DatabaseSession]:
    """Open the request's transaction. It takes a connection at its first statement."""
    async with database.transaction() as session:
        yield session


# Closed before the response is sent: a commit that fails is a response that fails.
SessionDep = Annotated[DatabaseSession, Depends(get_session, scope="function")]

# Only for OpenAPI's sake, so that the interactive pages can log in; the header is read below.
_scheme = OAuth2PasswordBearer(tokenUrl="/api/v1/auth/login", auto_error=False)


async def get_current_user(resources: ResourcesDep, token: Annotated[str | None, Depends(_scheme)]) -> Principal:
    """Return the caller.

    Account and login are looked up on every request, so that logout, disabling and demotion hold at once.

    Raises:
        UnauthorizedError: no token, a bad one, or one whose account or login is no longer good.

    """
    if token is None:
        raise UnauthorizedError
    try:
        claims = resources.tokens.verify(token)
    except InvalidTokenError as error:
        raise UnauthorizedError from error
    async with resources.database.autocommit(max_seconds=PATIENCE) as connection:
        principal = await users.find_principal(connection, user_uuid=claims.sub, session_uuid=claims.sid)
    if principal is None:
        raise UnauthorizedError
    return principal


CurrentUser = Annotated[Principal, Depends(get_current_user)]


def get_admin_user(user: CurrentUser) -> Principal:
    """Return the caller, who is an admin.

    Raises:
        ForbiddenError: the caller is not.

    """
    if user.role != "admin":
        raise ForbiddenError(code="admin_required")
    return user


AdminUser = Annotated[Principal, Depends(get_admin_user)]
