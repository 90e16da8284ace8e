"""Cookie that carries the refresh token of a page, for requests with `X-Refresh-Transport: cookie`.

Without this header the cookie is neither read nor written. No form and no page of another origin can send the header,
so a request that was forged by another page has no effect.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Header, Request, Response

from app.core.exceptions import UnauthorizedError
from app.http.dependencies import ResourcesDep

_NAME = "refresh_token"
_SECONDS_PER_DAY = 86_400

RefreshTransport = Literal["cookie", "body"]


@dataclass(frozen=True, slots=True)
class RefreshCookie:
    """The cookie of one request and its response."""

    is_used: bool
    """Whether the client asks for the cookie. False: it sends and receives refresh tokens in bodies."""
    token: str | None
    """Refresh token that the cookie contains. None: there is no cookie, or it is not used."""
    response: Response
    path: str
    is_secure: bool
    max_age: int
    """Lifetime of the cookie in seconds, which is that of the refresh token."""

    def store(self, token: str) -> None:
        """Send the refresh token to the client in the cookie."""
        self._set(self.response, token, self.max_age)

    def clear(self) -> None:
        """Delete the cookie of the client, if it is used."""
        if self.is_used:
            self._set(self.response, "", 0)

    def clear_with(self, error: UnauthorizedError) -> None:
        """Delete the cookie of the client with an error response, if it is used."""
        if self.is_used:
            response = Response()
            self._set(response, "", 0)
            error.headers["Set-Cookie"] = response.headers["Set-Cookie"]

    def _set(self, response: Response, value: str, max_age: int) -> None:
        response.set_cookie(
            _NAME, value, max_age=max_age, path=self.path, secure=self.is_secure, httponly=True, samesite="strict"
        )


async def get_refresh_cookie(
    request: Request,
    response: Response,
    resources: ResourcesDep,
    transport: Annotated[
        RefreshTransport,
        Header(
            alias="X-Refresh-Transport",
            description="`cookie`: the refresh token is sent and received as an HttpOnly cookie only.",
        ),
    ] = "body",
) -> RefreshCookie:
    """Return the cookie of the request."""
    settings = resources.settings
    is_used = transport == "cookie"
    return RefreshCookie(
        is_used=is_used,
        token=request.cookies.get(_NAME) if is_used else None,
        response=response,
        path=f"{settings.API_V1_STR}/auth",
        # The server takes the scheme from the gateway. An https `PUBLIC_URL` means that TLS ends before the gateway.
        is_secure=request.url.scheme == "https" or settings.PUBLIC_URL.startswith("https:"),
        max_age=settings.REFRESH_TOKEN_EXPIRE_DAYS * _SECONDS_PER_DAY,
    )


RefreshCookieDep = Annotated[RefreshCookie, Depends(get_refresh_cookie)]
