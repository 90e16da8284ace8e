"""What the auth service opens besides the shared resources, and how its routes get at it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Request

from app.auth.api_keys import ApiKeyService
from app.auth.email.delivery import open_email_outbox
from app.auth.login_throttle import LoginThrottle
from app.auth.logins import LoginService
from app.auth.privacy.erasure import ErasureService
from app.auth.privacy.export import ExportService
from app.auth.profiles import ProfileService
from app.auth.recovery import RecoveryService
from app.auth.registration import RegistrationService
from app.auth.users import UserService
from app.core.passwords import PasswordHasher
from app.core.security import RefreshTokens
from app.http.dependencies import Resources
from app.services.limits.concurrency import ConcurrencyLimiter

MAX_HASHES_PER_NETWORK = 16
"""Maximum number of logins and registrations that one client network has under way in a process: half of the queue for
password hashing, with one hash at a time."""


@dataclass(frozen=True, slots=True)
class AuthServices:
    """The decisions of this room, by topic."""

    logins: LoginService
    accounts: RegistrationService
    users: UserService
    profiles: ProfileService
    keys: ApiKeyService
    erasure: ErasureService
    export: ExportService
    recovery: RecoveryService


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open what only this service needs."""
    settings, database = resources.settings, resources.database
    async with AsyncExitStack() as stack:
        passwords = PasswordHasher(settings.PASSWORD_HASH_CONCURRENCY)
        stack.callback(passwords.close)
        logins = LoginService(
            database=database,
            access_tokens=resources.tokens,
            refresh_tokens=RefreshTokens.from_secret(settings.SECRET_KEY.get_secret_value()),
            passwords=passwords,
            guesses=LoginThrottle(
                database=database,
                per_account=settings.LOGIN_ATTEMPTS_PER_ACCOUNT,
                per_network=settings.LOGIN_ATTEMPTS_PER_ADDRESS,
                window=timedelta(seconds=settings.LOGIN_ATTEMPTS_WINDOW),
            ),
            hashing_limiter=ConcurrencyLimiter(
                MAX_HASHES_PER_NETWORK,
                code="too_many_logins",
                detail="Too many logins and registrations at once from this network.",
                retry_after=2,
            ),
            life=timedelta(days=settings.REFRESH_TOKEN_EXPIRE_DAYS),
            requires_verified_email=settings.EMAIL_VERIFICATION_REQUIRED,
        )
        stack.push_async_callback(logins.close)
        outbox = await stack.enter_async_context(open_email_outbox(settings, database))
        yield {
            "auth": AuthServices(
                logins=logins,
                accounts=RegistrationService(
                    database=database,
                    passwords=passwords,
                    logins=logins,
                    outbox=outbox,
                    requires_verified_email=settings.EMAIL_VERIFICATION_REQUIRED,
                ),
                profiles=ProfileService(database),
                keys=ApiKeyService(database),
                export=ExportService(database),
                erasure=ErasureService(database=database, redis=resources.redis, logins=logins),
                users=UserService(database),
                recovery=RecoveryService(database=database, passwords=passwords, outbox=outbox),
            )
        }


async def _get_services(request: Request) -> AuthServices:
    services: AuthServices = request.state.auth
    return services


ServicesDep = Annotated[AuthServices, Depends(_get_services)]
