"""Registration and login."""

from dataclasses import dataclass
from datetime import timedelta

from app.auth.schemas import TokenResponse, UserCreate
from app.core.exceptions import BadRequestError, FieldError, UnauthorizedError
from app.core.security import AccessTokens, PasswordHasher, hash_token, new_refresh_token
from app.database.connection import PATIENCE, Database
from app.database.models import User
from app.database.repositories import users
from app.database.repositories.audit import Origin
from app.database.repositories.users import NewUser, TakenError


@dataclass(frozen=True, slots=True)
class LoginService:
    """Decides who gets an account and who gets in."""

    database: Database
    tokens: AccessTokens
    passwords: PasswordHasher
    login_life: timedelta
    """How long a login lasts that is not used."""

    async def register(self, new: UserCreate) -> User:
        """Create an account of role `user`.

        Raises:
            BadRequestError: address or name is taken.

        """
        # Hashed before a connection is taken: it takes a tenth of a second, or longer in a queue.
        password_hash = await self.passwords.hash(new.password.get_secret_value())
        try:
            async with self.database.transaction(max_seconds=PATIENCE) as session:
                return await users.create(
                    session,
                    NewUser(
                        email=new.email, username=new.username, password_hash=password_hash, full_name=new.full_name
                    ),
                )
        except TakenError as error:
            raise BadRequestError(
                f"This {error.field} is already registered.",
                code="already_registered",
                errors=(FieldError(f"body.{error.field}", "taken", "is already registered"),),
            ) from error

    async def login(self, login: str, password: str, origin: Origin) -> TokenResponse:
        """Check the password and open a session for the device.

        Raises:
            UnauthorizedError: wrong password, no such account, or a disabled one: the same answer after the same time.

        """
        async with self.database.autocommit(max_seconds=PATIENCE) as connection:
            user = await users.find_by_login(connection, login)
        is_right = await self.passwords.verify(password, user.password_hash if user else None)
        if user is None or not is_right or not user.is_active:
            raise UnauthorizedError("Incorrect email or password.", code="invalid_credentials")
        refresh_token = new_refresh_token()
        async with self.database.transaction(max_seconds=PATIENCE) as session:
            session_uuid = await users.open_auth_session(
                session,
                user_id=user.id,
                token_hash=hash_token(refresh_token),
                life=self.login_life,
                user_agent=origin.user_agent,
                ip=origin.ip,
            )
        return TokenResponse(
            access_token=self.tokens.issue(user_id=user.uuid, session_id=session_uuid),
            refresh_token=refresh_token,
            expires_in=int(self.tokens.life.total_seconds()),
        )
