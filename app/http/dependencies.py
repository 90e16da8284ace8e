"""What routes may ask for, as annotated aliases. Coroutines: the framework takes plain functions to a thread each."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from redis.asyncio import Redis
from starlette.requests import HTTPConnection

from app.config import Settings
from app.core.exceptions import ForbiddenError, UnauthorizedError
from app.core.security import API_KEY_PREFIX, AccessTokens, InvalidTokenError, hash_token
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.repositories.accounts import callers
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import RequestOrigin
from app.observability.logging import request_id_var
from app.services.heartbeat import Heartbeat
from app.services.limits.rate_limiter import RequestQuota
from app.services.redis.circuit_breaker import RedisCircuitBreaker


@dataclass(frozen=True, slots=True)
class Resources:
    """What every service opens at start and closes at the end, in the reverse order."""

    settings: Settings
    database: Database
    redis: Redis
    breaker: RedisCircuitBreaker
    """Before Redis, for whoever can do without."""
    tokens: AccessTokens
    heartbeat: Heartbeat
    """Shows the figures of this process to admins."""
    stopping: asyncio.Event
    """Set when the process has been told to stop, shortly before its server stops listening."""


async def get_resources(request: Request) -> Resources:
    """Return the process's resources, from the lifespan's state."""
    resources: Resources = request.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]


async def get_database(resources: ResourcesDep) -> Database:
    """Return the pool, for routes that must not hold a connection all the time."""
    return resources.database


DatabaseDep = Annotated[Database, Depends(get_database)]


async def get_session(database: DatabaseDep) -> AsyncIterator[DatabaseSession]:
    """Open the request's transaction. It takes a connection at its first statement."""
    async with database.transaction() as session:
        yield session


# Closed before the response is sent: a commit that fails is a response that fails.
SessionDep = Annotated[DatabaseSession, Depends(get_session, scope="function")]


class _Bearer(OAuth2PasswordBearer):
    """Reads the token as RFC 6750, section 2.1, has it. Its base tells the interactive pages how to log in."""

    _AUTHORIZATION = re.compile(r"bearer +([a-z0-9._~+/-]+=*)", re.ASCII | re.IGNORECASE)

    async def __call__(self, request: HTTPConnection) -> str | None:
        """Return the token. None where there is none, or more than one: a gateway may have read another one."""
        given = request.headers.getlist("Authorization")
        match = self._AUTHORIZATION.fullmatch(given[0]) if len(given) == 1 else None
        return match[1] if match else None


_scheme = _Bearer(tokenUrl="/api/v1/auth/login", scheme_name="OAuth2PasswordBearer")


async def get_request_quota(request: Request) -> RequestQuota:
    """Return the request as the limits see it."""
    request_quota: RequestQuota = request.state.request_quota
    return request_quota


RequestQuotaDep = Annotated[RequestQuota, Depends(get_request_quota)]


async def get_current_user(
    resources: ResourcesDep, request_quota: RequestQuotaDep, token: Annotated[str | None, Depends(_scheme)]
) -> Principal:
    """Return the caller.

    Account and login are looked up on every request, so that logout, disabling and demotion hold at once.

    Raises:
        UnauthorizedError: no token, a bad one, or one whose account or login is no longer good.
        TooManyRequestsError: the account has made too many requests.

    """
    if token is None:
        raise UnauthorizedError
    try:
        claims = resources.tokens.verify(token)
    except InvalidTokenError as error:
        raise UnauthorizedError from error
    async with resources.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
        principal = await callers.find_by_login(connection, user_uuid=claims.sub, session_uuid=claims.sid)
    if principal is None:
        raise UnauthorizedError
    await request_quota.assign_account(principal.uuid)
    return principal


CurrentUser = Annotated[Principal, Depends(get_current_user)]


async def get_request_origin(request: Request) -> RequestOrigin:
    """Return where the request comes from: the address is the gateway's word, not the client's."""
    user_agent = request.headers.get("user-agent")
    try:
        ip = str(ip_address(request.client.host)) if request.client else None
    except ValueError:
        ip = None  # a Unix socket has no address
    return RequestOrigin(
        ip=ip, user_agent=_storable(user_agent[:400]) if user_agent else None, request_id=request_id_var.get()
    )


RequestOriginDep = Annotated[RequestOrigin, Depends(get_request_origin)]


async def get_admin_user(user: CurrentUser, database: DatabaseDep, origin: RequestOriginDep) -> Principal:
    """Return the caller, who is an admin. Others are noted in the audit log.

    Raises:
        ForbiddenError: the caller is not.

    """
    if user.role != "admin":
        async with database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await audit_log.record(
                connection, audit_log.NewAuditEntry("admin.access", actor=user.uuid, outcome="refused"), origin
            )
        raise ForbiddenError(code="admin_required")
    return user


AdminUser = Annotated[Principal, Depends(get_admin_user)]


async def get_chat_user(
    resources: ResourcesDep, request_quota: RequestQuotaDep, token: Annotated[str | None, Depends(_scheme)]
) -> Principal:
    """Return the caller of the chat service: somebody who has logged in, or a program with an API key.

    Raises:
        UnauthorizedError, TooManyRequestsError: as `get_current_user`, and likewise for a key.
        ForbiddenError: the account's address must be verified first.

    """
    if token is not None and token.startswith(API_KEY_PREFIX):
        async with resources.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            user = await callers.find_by_key(connection, token_hash=hash_token(token))
        if user is None:
            raise UnauthorizedError
        await request_quota.assign_account(user.uuid)
    else:
        user = await get_current_user(resources, request_quota, token)
    if not user.is_verified and not resources.settings.UNVERIFIED_MAY_CHAT:
        raise ForbiddenError("Verify your email address first.", code="email_not_verified")
    return user


ChatUser = Annotated[Principal, Depends(get_chat_user)]


async def get_chat_reader(user: ChatUser) -> Principal:
    """Return the caller, who may read conversations.

    Raises:
        ForbiddenError: the API key is not for that.

    """
    return _with_scope(user, "chat:read")


async def get_chat_writer(user: ChatUser) -> Principal:
    """Return the caller, who may ask, change and delete.

    Raises:
        ForbiddenError: the API key is not for that.

    """
    return _with_scope(user, "chat:write")


ChatReader = Annotated[Principal, Depends(get_chat_reader)]
ChatWriter = Annotated[Principal, Depends(get_chat_writer)]


def _with_scope(user: Principal, scope: str) -> Principal:
    if user.scopes is not None and scope not in user.scopes:
        raise ForbiddenError(f"This API key lacks the scope {scope}.", code="scope_required")
    return user


def _storable(text: str) -> str:
    # Headers are bytes that were read as Latin-1: there are no surrogates among them, but there may be a NUL.
    return text.replace("\x00", "")
