"""Dependencies that the services' routes share, as annotated aliases.

All of them are coroutines, because FastAPI runs each plain function in a thread.
"""

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
from app.services.limits.rate_limiter import RateLimitCheck
from app.services.redis.circuit_breaker import RedisCircuitBreaker


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources that every service opens when it starts and closes in reverse order when it stops."""

    settings: Settings
    database: Database
    redis: Redis
    breaker: RedisCircuitBreaker
    """Circuit breaker of Redis, for features that work without it."""
    access_tokens: AccessTokens
    heartbeat: Heartbeat
    """Reports the state of this process to admins."""
    stopping: asyncio.Event
    """Set when the process receives a stop signal, shortly before its server stops accepting connections."""


async def get_resources(request: Request) -> Resources:
    """Return the resources of the process."""
    resources: Resources = request.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]


async def get_database(resources: ResourcesDep) -> Database:
    """Return the database, for routes that must not hold a connection during the whole request."""
    return resources.database


DatabaseDep = Annotated[Database, Depends(get_database)]


async def get_session(database: DatabaseDep) -> AsyncIterator[DatabaseSession]:
    """Open the transaction of the request. It takes a connection at its first statement."""
    async with database.transaction() as session:
        yield session


# With the scope "function" the commit precedes the response, so that a failed commit fails the request.
SessionDep = Annotated[DatabaseSession, Depends(get_session, scope="function")]


class _Bearer(OAuth2PasswordBearer):
    """Bearer token authentication (RFC 6750, section 2.1). The base class describes the login in OpenAPI."""

    _AUTHORIZATION = re.compile(r"bearer +([a-z0-9._~+/-]+=*)", re.ASCII | re.IGNORECASE)

    async def __call__(self, request: HTTPConnection) -> str | None:
        """Return the token; None if the request has no valid header, or several, of which a gateway may use another."""
        headers = request.headers.getlist("Authorization")
        match = self._AUTHORIZATION.fullmatch(headers[0]) if len(headers) == 1 else None
        return match[1] if match else None


_scheme = _Bearer(tokenUrl="/api/v1/auth/login", scheme_name="OAuth2PasswordBearer")


async def get_rate_limit_check(request: Request) -> RateLimitCheck:
    """Return the rate limit state of the request."""
    rate_limit_check: RateLimitCheck = request.state.rate_limit_check
    return rate_limit_check


RateLimitCheckDep = Annotated[RateLimitCheck, Depends(get_rate_limit_check)]


async def get_current_user(
    resources: ResourcesDep, rate_limit_check: RateLimitCheckDep, token: Annotated[str | None, Depends(_scheme)]
) -> Principal:
    """Return the caller, who must have logged in.

    Account and login are read on every request, so that logout, disabling and demotion take effect on the next one.

    Raises:
        UnauthorizedError: the token is missing or invalid, its login has ended, or its account is disabled.
        TooManyRequestsError: the account is over its rate limit.

    """
    if token is None:
        raise UnauthorizedError
    try:
        claims = resources.access_tokens.verify(token)
    except InvalidTokenError as error:
        raise UnauthorizedError from error
    async with resources.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
        principal = await callers.find_by_login(connection, user_uuid=claims.sub, session_uuid=claims.sid)
    if principal is None:
        raise UnauthorizedError
    await rate_limit_check.assign_account(principal.uuid)
    return principal


CurrentUser = Annotated[Principal, Depends(get_current_user)]


async def get_request_origin(request: Request) -> RequestOrigin:
    """Return address, user agent and id of the request. The address comes from the gateway, not from the client."""
    user_agent = request.headers.get("user-agent")
    try:
        ip = str(ip_address(request.client.host)) if request.client else None
    except ValueError:
        ip = None  # a Unix socket has no address
    return RequestOrigin(
        ip=ip, user_agent=_remove_nul(user_agent[:400]) if user_agent else None, request_id=request_id_var.get()
    )


RequestOriginDep = Annotated[RequestOrigin, Depends(get_request_origin)]


async def get_admin_user(user: CurrentUser, database: DatabaseDep, origin: RequestOriginDep) -> Principal:
    """Return the caller, who must be an admin. Refusals are written to the audit log.

    Raises:
        ForbiddenError: the caller is not an admin.

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
    resources: ResourcesDep, rate_limit_check: RateLimitCheckDep, token: Annotated[str | None, Depends(_scheme)]
) -> Principal:
    """Return the caller of the chat service, authenticated by an access token or an API key.

    Raises:
        UnauthorizedError, TooManyRequestsError: as `get_current_user`, also for API keys.
        ForbiddenError: the address of the account must be verified first.

    """
    if token is not None and token.startswith(API_KEY_PREFIX):
        async with resources.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            user = await callers.find_by_key(connection, token_hash=hash_token(token))
        if user is None:
            raise UnauthorizedError
        await rate_limit_check.assign_account(user.uuid)
    else:
        user = await get_current_user(resources, rate_limit_check, token)
    if not user.is_verified and not resources.settings.UNVERIFIED_MAY_CHAT:
        raise ForbiddenError("Verify your email address first.", code="email_not_verified")
    return user


ChatUser = Annotated[Principal, Depends(get_chat_user)]


async def get_chat_reader(user: ChatUser) -> Principal:
    """Return the caller, who must have the permission to read conversations.

    Raises:
        ForbiddenError: the API key lacks the scope `chat:read`.

    """
    return _require_scope(user, "chat:read")


async def get_chat_writer(user: ChatUser) -> Principal:
    """Return the caller, who must have the permission to ask questions, update and delete.

    Raises:
        ForbiddenError: the API key lacks the scope `chat:write`.

    """
    return _require_scope(user, "chat:write")


ChatReader = Annotated[Principal, Depends(get_chat_reader)]
ChatWriter = Annotated[Principal, Depends(get_chat_writer)]


def _require_scope(user: Principal, scope: str) -> Principal:
    if user.scopes is not None and scope not in user.scopes:
        raise ForbiddenError(f"This API key lacks the scope {scope}.", code="scope_required")
    return user


def _remove_nul(text: str) -> str:
    # PostgreSQL cannot store NUL. Surrogates cannot occur: headers are decoded as Latin-1.
    return text.replace("\x00", "")
