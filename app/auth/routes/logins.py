"""Routes for login, token refresh, logout and the list of logins."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Query

from app.auth.dependencies import ServicesDep
from app.auth.refresh_cookie import RefreshCookie, RefreshCookieDep
from app.auth.schemas.accounts import Done
from app.auth.schemas.logins import LoginForm, LoginList, LoginResponse, RefreshRequest, TokenResponse
from app.core.exceptions import InvalidFieldError, UnauthorizedError
from app.core.schema_types import Page, PageSize, Pagination
from app.database.models import AuthSession
from app.database.repositories.accounts import auth_sessions
from app.database.repositories.accounts.callers import Principal
from app.http.authentication import CurrentUser, OptionalUser
from app.http.dependencies import RequestOriginDep, SessionDep
from app.http.errors import responses

router = APIRouter()


@router.post("/login", responses=responses(400, 401, 413, 422))
async def login(
    form: Annotated[LoginForm, Form()], services: ServicesDep, origin: RequestOriginDep, cookie: RefreshCookieDep
) -> TokenResponse:
    """Log in with an email address or a user name and get an access token and a refresh token."""
    return _send(await services.logins.login(form.username, form.password, origin), cookie)


@router.post("/refresh", responses=responses(400, 401, 413, 422))
async def refresh(
    services: ServicesDep, origin: RequestOriginDep, cookie: RefreshCookieDep, request: RefreshRequest | None = None
) -> TokenResponse:
    """Exchange a refresh token for its successor and a new access token.

    Each refresh token works once. In case the response was lost, it may be sent again until its successor is used, and
    gets the same successor. Reuse of any older token ends the login. With `X-Refresh-Transport: cookie` the token is
    read from the cookie, and a body is not needed; otherwise the body is required.
    """
    if cookie.is_used:
        token = cookie.token or ""
    elif request is not None:
        token = request.refresh_token
    else:
        raise InvalidFieldError("body", "missing", "Field required")
    try:
        tokens = await services.logins.refresh(token, origin)
    except UnauthorizedError as error:
        cookie.clear_with(error)
        raise
    return _send(tokens, cookie)


@router.post("/logout", responses=responses(401, 422))
async def logout(
    user: OptionalUser,
    services: ServicesDep,
    session: SessionDep,
    origin: RequestOriginDep,
    cookie: RefreshCookieDep,
) -> Done:
    """End the current login. All services refuse its tokens from the next request on.

    With `X-Refresh-Transport: cookie` the login of the cookie ends and the cookie is deleted. This needs no access
    token, which may have expired, and it succeeds also if the login has ended before.
    """
    if user is None and not cookie.is_used:
        raise UnauthorizedError
    if user is not None:
        await services.logouts.logout(session, user, origin)
    if cookie.token is not None:
        await services.logouts.logout_by_token(session, cookie.token, origin)
    cookie.clear()
    return Done(message="Successfully logged out.")


@router.post("/logout-all", responses=responses(401, 422))
async def logout_all(
    user: CurrentUser,
    services: ServicesDep,
    session: SessionDep,
    origin: RequestOriginDep,
    cookie: RefreshCookieDep,
) -> Done:
    """End all logins of the caller, including the current one."""
    await services.logouts.logout_all(session, user, origin)
    cookie.clear()
    return Done(message="Successfully logged out everywhere.")


@router.get("/sessions", responses=responses(401, 422))
async def list_logins(
    user: CurrentUser,
    session: SessionDep,
    page: Annotated[Page, Query()] = 1,
    size: Annotated[PageSize, Query()] = 20,
) -> LoginList:
    """List the caller's logins, newest first."""
    rows, total = await auth_sessions.list_page(session, user_id=user.id, page=page, size=size)
    return LoginList(
        sessions=[_to_response(row, user) for row in rows], pagination=Pagination.of(total=total, page=page, size=size)
    )


@router.delete("/sessions/{session_id}", responses=responses(401, 404, 422))
async def remove_login(
    session_id: UUID,
    user: CurrentUser,
    services: ServicesDep,
    session: SessionDep,
    origin: RequestOriginDep,
    cookie: RefreshCookieDep,
) -> Done:
    """End one login of the caller."""
    await services.logouts.remove(session, user, session_id, origin)
    if session_id == user.session_uuid:
        cookie.clear()
    return Done(message="Session ended.")


def _send(tokens: TokenResponse, cookie: RefreshCookie) -> TokenResponse:
    """Return the response with the tokens, in which the refresh token is left out if it is sent as a cookie."""
    if not cookie.is_used or tokens.refresh_token is None:
        return tokens
    cookie.store(tokens.refresh_token)
    return tokens.model_copy(update={"refresh_token": None})


def _to_response(row: AuthSession, user: Principal) -> LoginResponse:
    return LoginResponse.model_validate(
        {
            "uuid": row.uuid,
            "created_at": row.created_at,
            "last_used_at": row.rotated_at or row.created_at,
            "expires_at": row.expires_at,
            "user_agent": row.user_agent,
            "ip": str(row.ip) if row.ip else None,
            "is_current": row.uuid == user.session_uuid,
        }
    )
