"""Authentication by access token or API key, and the roles and scopes that routes require, as annotated aliases."""

import re
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer
from starlette.requests import HTTPConnection

from app.core.exceptions import ForbiddenError, UnauthorizedError
from app.core.security import API_KEY_PREFIX, InvalidTokenError, hash_token
from app.database.connection import REQUEST_TIMEOUT
from app.database.repositories.accounts import callers
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log, refusals
from app.http.dependencies import DatabaseDep, RequestOriginDep, Resources
from app.services.limits.rate_limiter import RateLimitCheck


class _Bearer(OAuth2PasswordBearer):
    """Bearer token authentication (RFC 6750, section 2.1). The base class describes the login in OpenAPI."""

    _AUTHORIZATION = re.compile(r"bearer +([a-z0-9._~+/-]+=*)", re.ASCII | re.IGNORECASE)

    async def __call__(self, request: HTTPConnection) -> str | None:
        """Return the token; None if the request has no valid header, or several, of which a gateway may use another."""
        headers = request.headers.getlist("Authorization")
        match = self._AUTHORIZATION.fullmatch(headers[0]) if len(headers) == 1 else None
        return match[1] if match else None


_scheme = _Bearer(tokenUrl="/api/v1/auth/login", scheme_name="OAuth2PasswordBearer")


# The state of the request is read in the functions: FastAPI solves a nested dependency again for each one that has it.


async def get_current_user(request: Request, token: Annotated[str | None, Depends(_scheme)]) -> Principal:
    """Return the caller, who must have logged in.

    Account and login are read on every request, so that logout, disabling and demotion take effect on the next one.

    Raises:
        UnauthorizedError: the token is missing or invalid, its login has ended, or its account is disabled.
        TooManyRequestsError: the account is over its rate limit.

    """
    if token is None:
        raise UnauthorizedError
    resources: Resources = request.state.resources
    try:
        claims = resources.access_tokens.verify(token)
    except InvalidTokenError as error:
        raise UnauthorizedError from error
    async with resources.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
        principal = await callers.find_by_login(connection, user_uuid=claims.sub, session_uuid=claims.sid)
    if principal is None:
        raise UnauthorizedError
    await _rate_limit_check(request).assign_account(principal.uuid)
    return principal


def _rate_limit_check(request: Request) -> RateLimitCheck:
    rate_limit_check: RateLimitCheck = request.state.rate_limit_check
    return rate_limit_check


CurrentUser = Annotated[Principal, Depends(get_current_user)]


async def get_optional_user(request: Request, token: Annotated[str | None, Depends(_scheme)]) -> Principal | None:
    """Return the caller, as `get_current_user`, or None if the token is missing or invalid.

    Raises:
        TooManyRequestsError: the account is over its rate limit.

    """
    try:
        return await get_current_user(request, token)
    except UnauthorizedError:
        _rate_limit_check(request).reject_credential()  # as for a response with status 401
        return None


OptionalUser = Annotated[Principal | None, Depends(get_optional_user)]


async def get_admin_user(user: CurrentUser, database: DatabaseDep, origin: RequestOriginDep) -> Principal:
    """Return the caller, who must be an admin. Refusals are written to the audit log, at most a few per hour.

    Raises:
        ForbiddenError: the caller is not an admin.

    """
    if user.role != "admin":
        async with database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await refusals.record(
                connection, audit_log.NewAuditEntry("admin.access", actor=user.uuid, outcome="refused"), origin
            )
        raise ForbiddenError(code="admin_required")
    return user


AdminUser = Annotated[Principal, Depends(get_admin_user)]


async def get_chat_user(request: Request, token: Annotated[str | None, Depends(_scheme)]) -> Principal:
    """Return the caller of the chat service, authenticated by an access token or an API key.

    Raises:
        UnauthorizedError, TooManyRequestsError: as `get_current_user`, also for API keys.
        ForbiddenError: the address of the account must be verified first.

    """
    resources: Resources = request.state.resources
    if token is not None and token.startswith(API_KEY_PREFIX):
        async with resources.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            user = await callers.find_by_key(connection, token_hash=hash_token(token))
        if user is None:
            raise UnauthorizedError
        await _rate_limit_check(request).assign_account(user.uuid)
    else:
        user = await get_current_user(request, token)
    if not user.is_verified and not resources.settings.UNVERIFIED_MAY_CHAT:
        raise ForbiddenError("Verify your email address first.", code="email_not_verified")
    return user


ChatUser = Annotated[Principal, Depends(get_chat_user)]


async def get_chat_reader(user: ChatUser) -> Principal:
    """Return the caller, who must have the permission to read conversations.

    Raises:
        ForbiddenError: the API key lacks the scope `chat:read`.

    """
    return require_scope(user, "chat:read")


async def get_chat_writer(user: ChatUser) -> Principal:
    """Return the caller, who must have the permission to ask questions, update and delete.

    Raises:
        ForbiddenError: the API key lacks the scope `chat:write`.

    """
    return require_scope(user, "chat:write")


async def get_completions_user(user: ChatUser) -> Principal:
    """Return the caller of the OpenAI-compatible API, who must have the permission to use it.

    Raises:
        ForbiddenError: the API key lacks the scope `chat:completions`.

    """
    return require_scope(user, "chat:completions")


CompletionsUser = Annotated[Principal, Depends(get_completions_user)]
ChatReader = Annotated[Principal, Depends(get_chat_reader)]
ChatWriter = Annotated[Principal, Depends(get_chat_writer)]


def require_scope(user: Principal, scope: str) -> Principal:
    """Return the caller, if it has logged in or its API key has a scope.

    Raises:
        ForbiddenError: the API key lacks the scope.

    """
    if user.scopes is not None and scope not in user.scopes:
        raise ForbiddenError(f"This API key lacks the scope {scope}.", code="scope_required")
    return user
