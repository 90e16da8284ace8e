"""Routes for registration and the caller's account."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.auth.dependencies import ServicesDep
from app.auth.schemas.accounts import (
    Done,
    PasswordChange,
    ProfileUpdate,
    RegistrationAccepted,
    UserCreate,
    UserResponse,
)
from app.auth.schemas.preferences import Preferences, PreferencesUpdate
from app.core.exceptions import UnauthorizedError
from app.database.models import User
from app.database.repositories.accounts import users
from app.http.authentication import CurrentUser
from app.http.dependencies import RequestOriginDep, SessionDep
from app.http.errors import responses

router = APIRouter()


@router.post(
    "/register",
    status_code=201,
    response_model=UserResponse,
    responses=responses(400, 403, 413, 422)
    | {202: {"model": RegistrationAccepted, "description": "Addresses must be verified: the result is sent by email"}},
)
async def register(new: UserCreate, services: ServicesDep, origin: RequestOriginDep) -> User | Response:
    """Create an account.

    If addresses must be verified, the response without an invitation is always 202, and the result is sent to the
    address by email. An invitation verifies the address. Where registration is not open, one is required.
    """
    user = await services.registration.register(new, origin)
    return user or JSONResponse(RegistrationAccepted().model_dump(), status_code=202)


@router.put("/password", responses=responses(400, 401, 409, 413, 422))
async def change_password(
    change: PasswordChange, user: CurrentUser, services: ServicesDep, origin: RequestOriginDep
) -> Done:
    """Change the caller's password. All other logins of the account end; API keys stay valid."""
    await services.passwords.change(user, change.current_password, change.new_password.get_secret_value(), origin)
    return Done(message="Password changed.")


@router.get("/me", response_model=UserResponse, responses=responses(401))
async def me(caller: CurrentUser, session: SessionDep) -> User:
    """Return the caller's account."""
    user = await users.get(session, caller.id)
    if user is None:
        raise UnauthorizedError  # erased after the caller was authenticated
    return user


@router.put("/profile", response_model=UserResponse, responses=responses(400, 401, 413, 422))
async def update_profile(
    update: ProfileUpdate, caller: CurrentUser, services: ServicesDep, origin: RequestOriginDep
) -> User:
    """Update the full name, user name or preferences of the caller's account."""
    return await services.profiles.update(caller, update, origin)


@router.put("/preferences", responses=responses(400, 401, 413, 422))
async def update_preferences(update: PreferencesUpdate, caller: CurrentUser, services: ServicesDep) -> Preferences:
    """Update preferences of the caller, and return all of them. Fields that are left out stay unchanged."""
    return await services.profiles.update_preferences(caller, update)
