"""What the auth service opens besides the shared resources, and how its routes get at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Request

from app.auth.logins import LoginService
from app.core.security import PasswordHasher
from app.dependencies import Resources


@dataclass(frozen=True, slots=True)
class AuthServices:
    """The decisions of this room, by topic."""

    logins: LoginService


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open what only this service needs."""
    settings = resources.settings
    passwords = PasswordHasher(settings.PASSWORD_HASH_CONCURRENCY)
    yield {
        "auth": AuthServices(
            logins=LoginService(
                database=resources.database,
                tokens=resources.tokens,
                passwords=passwords,
                login_life=timedelta(days=settings.REFRESH_TOKEN_EXPIRE_DAYS),
            ),
        )
    }


def _get_services(request: Request) -> AuthServices:
    services: AuthServices = request.state.auth
    return services


ServicesDep = Annotated[AuthServices, Depends(_get_services)]
