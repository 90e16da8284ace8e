"""Getting in and out: login, refresh, logout, devices."""

from typing import Annotated

from fastapi import APIRouter, Form

from app.auth.dependencies import ServicesDep
from app.auth.schemas import LoginForm, TokenResponse
from app.core.handlers import responses
from app.dependencies import OriginDep

router = APIRouter()


@router.post("/login", responses=responses(400, 401, 413, 422))
async def login(form: Annotated[LoginForm, Form()], services: ServicesDep, origin: OriginDep) -> TokenResponse:
    """Log in with an address or a user name, and get an access and a refresh token."""
    return await services.logins.login(form.username, form.password, origin)
