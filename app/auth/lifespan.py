"""Resources of the auth service: opened in its lifespan, closed in the reverse order."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.auth.api_keys import ApiKeyService
from app.auth.email.delivery import open_email_outbox
from app.auth.email_links import EmailLinkService
from app.auth.invitations import InvitationService
from app.auth.login_throttle import LoginThrottle
from app.auth.logins import LoginService
from app.auth.logouts import LogoutService
from app.auth.password_change import PasswordService
from app.auth.privacy.erasure import ErasureService
from app.auth.privacy.export import ExportService
from app.auth.profiles import ProfileService
from app.auth.public_config import build_public_config
from app.auth.registration import RegistrationService
from app.auth.schemas.config import PublicConfig
from app.auth.users import UserService
from app.core.link_tokens import LinkTokens
from app.core.password_hashing import PasswordHasher
from app.core.security import RefreshTokens
from app.http.dependencies import Resources
from app.services.limits.concurrency import ConcurrencyLimiter

MAX_HASHES_PER_NETWORK = 16
"""Maximum number of concurrent logins and registrations of one client network in a process: half of the queue for
password hashing, with one hash at a time."""


@dataclass(frozen=True, slots=True)
class AuthServices:
    """Services behind the routes, one per topic."""

    public_config: PublicConfig
    logins: LoginService
    logouts: LogoutService
    registration: RegistrationService
    passwords: PasswordService
    users: UserService
    profiles: ProfileService
    api_keys: ApiKeyService
    invitations: InvitationService
    erasure: ErasureService
    export: ExportService
    email_links: EmailLinkService


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open the resources that only the auth service needs."""
    settings, database = resources.settings, resources.database
    async with AsyncExitStack() as stack:
        hasher = PasswordHasher(settings.PASSWORD_HASH_CONCURRENCY)
        stack.callback(hasher.close)
        # Shared by login and registration: both wait for the same hashing threads.
        hashing_limiter = ConcurrencyLimiter(
            MAX_HASHES_PER_NETWORK,
            code="too_many_logins",
            detail="Too many concurrent logins and registrations from this network.",
            retry_after=2,
        )
        refresh_tokens = RefreshTokens.from_secret(settings.SECRET_KEY.get_secret_value())
        logins = LoginService(
            database=database,
            access_tokens=resources.access_tokens,
            refresh_tokens=refresh_tokens,
            hasher=hasher,
            throttle=LoginThrottle(
                database=database,
                max_per_account=settings.LOGIN_ATTEMPTS_PER_ACCOUNT,
                max_per_network=settings.LOGIN_ATTEMPTS_PER_ADDRESS,
                window=timedelta(seconds=settings.LOGIN_ATTEMPTS_WINDOW),
            ),
            hashing_limiter=hashing_limiter,
            lifetime=timedelta(days=settings.REFRESH_TOKEN_EXPIRE_DAYS),
            requires_verified_email=settings.EMAIL_VERIFICATION_REQUIRED,
        )
        stack.push_async_callback(logins.close)
        invitation_tokens = LinkTokens.from_secret(settings.SECRET_KEY.get_secret_value(), "invitation tokens")
        outbox = await stack.enter_async_context(open_email_outbox(settings, database, invitation_tokens))
        yield {
            "auth": AuthServices(
                public_config=build_public_config(settings),
                logins=logins,
                logouts=LogoutService(refresh_tokens),
                registration=RegistrationService(
                    database=database,
                    hasher=hasher,
                    hashing_limiter=hashing_limiter,
                    outbox=outbox,
                    invitation_tokens=invitation_tokens,
                    mode=settings.REGISTRATION,
                    requires_verified_email=settings.EMAIL_VERIFICATION_REQUIRED,
                ),
                passwords=PasswordService(database=database, hasher=hasher, logins=logins, outbox=outbox),
                users=UserService(database, outbox),
                profiles=ProfileService(database),
                api_keys=ApiKeyService(database),
                invitations=InvitationService(database, outbox, life=timedelta(days=settings.INVITATION_EXPIRE_DAYS)),
                erasure=ErasureService(database=database, redis=resources.redis, logins=logins),
                export=ExportService(database),
                email_links=EmailLinkService(database=database, hasher=hasher, outbox=outbox),
            )
        }
