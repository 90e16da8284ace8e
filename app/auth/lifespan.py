"""Resources of the auth service: opened in its lifespan, closed in the reverse order."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.auth.api_keys import ApiKeyService
from app.auth.email.delivery import open_email_outbox
from app.auth.email_links import EmailLinkService
from app.auth.email_policy import EmailPolicy
from app.auth.hashing_queue import HashingQueue
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
from app.services.limits.transfers import new_transfer_limiter


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
        hashing = HashingQueue.open(settings, hasher)
        resources.heartbeat.add_stats("hashing", hashing.queue.stats)
        refresh_tokens = RefreshTokens.from_secret(*settings.secret_keys)
        logins = LoginService(
            database=database,
            access_tokens=resources.access_tokens,
            refresh_tokens=refresh_tokens,
            hashing=hashing,
            throttle=LoginThrottle(
                database=database,
                max_per_account=settings.LOGIN_ATTEMPTS_PER_ACCOUNT,
                max_per_network=settings.LOGIN_ATTEMPTS_PER_ADDRESS,
                window=timedelta(seconds=settings.LOGIN_ATTEMPTS_WINDOW),
            ),
            lifetime=timedelta(days=settings.REFRESH_TOKEN_EXPIRE_DAYS),
            requires_verified_email=settings.EMAIL_VERIFICATION_REQUIRED,
        )
        stack.push_async_callback(logins.close)
        invitation_tokens = LinkTokens.from_secret(
            settings.secret_keys[0], "invitation tokens", settings.secret_keys[1:]
        )
        outbox = await stack.enter_async_context(open_email_outbox(settings, database, invitation_tokens))
        email_policy = EmailPolicy(settings.EMAIL_LOCAL_DOMAINS)
        yield {
            "auth": AuthServices(
                public_config=build_public_config(settings),
                logins=logins,
                logouts=LogoutService(refresh_tokens),
                registration=RegistrationService(
                    database=database,
                    hashing=hashing,
                    outbox=outbox,
                    invitation_tokens=invitation_tokens,
                    email_policy=email_policy,
                    mode=settings.REGISTRATION,
                    requires_verified_email=settings.EMAIL_VERIFICATION_REQUIRED,
                ),
                passwords=PasswordService(database=database, logins=logins, outbox=outbox),
                users=UserService(database, outbox),
                profiles=ProfileService(database),
                api_keys=ApiKeyService(database),
                invitations=InvitationService(
                    database, outbox, email_policy, life=timedelta(days=settings.INVITATION_EXPIRE_DAYS)
                ),
                erasure=ErasureService(database=database, redis=resources.redis, logins=logins),
                export=ExportService(database, new_transfer_limiter(settings)),
                email_links=EmailLinkService(
                    database=database, hashing=hashing, outbox=outbox, email_policy=email_policy
                ),
            )
        }
