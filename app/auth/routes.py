"""HTTP of the auth service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request

from app.auth.schemas import LoginForm, TokenResponse, UserCreate, UserResponse
from app.auth.service import AuthService, Client
from app.core.exceptions import UnauthorizedError
from app.core.handlers import responses
from app.core.security import PasswordHasher
from app.database.models import User
from app.database.repositories import users
from app.dependencies import CurrentUser, Resources, SessionDep

router = APIRouter(responses=responses(503))


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open what only this service needs."""
    settings = resources.settings
    yield {
        "auth": AuthService(
            database=resources.database,
            tokens=resources.tokens,
            passwords=PasswordHasher(settings.PASSWORD_HASH_CONCURRENCY),
            login_life=timedelta(days=settings.REFRESH_TOKEN_EXPIRE_DAYS),
        )
    }


def _get_service(request: Request) -> AuthService:
    service: AuthService = request.state.auth
    return service


def _get_client(request: Request) -> Client:
    user_agent = request.headers.get("user-agent")
    try:
        ip = str(ip_address(request.client.host)) if request.client else None
    except ValueError:
        ip = None  # a Unix socket has no address
    return Client(ip=ip, user_agent=user_agent[:400] if user_agent else None)


AuthServiceDep = Annotated[AuthService, Depends(_get_service)]
ClientDep = Annotated[Client, Depends(_get_client)]


@router.post("/register", status_code=201, response_model=UserResponse, responses=responses(400, 413, 422))
async def register(new: UserCreate, service: AuthServiceDep) -> User:
    """Create an account."""
    return await service.register(new)


@router.post("/login", responses=responses(400, 401, 413, 422))
async def login(form: Annotated[LoginForm, Form()], service: AuthServiceDep, client: ClientDep) -> TokenResponse:
    """Log in with an address or a user name, and get an access and a refresh token."""
    return await service.login(form.username, form.password, client)


@router.get("/me", response_model=UserResponse, responses=responses(401))
async def me(caller: CurrentUser, session: SessionDep) -> User:
    """Return the caller's account."""
    user = await users.get(session, caller.id)
    if user is None:
        raise UnauthorizedError  # erased since the check
    return user
