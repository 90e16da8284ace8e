"""HTTP of the auth service, a module for each topic."""

from fastapi import APIRouter

from app.auth.routes import accounts, logins, users
from app.core.handlers import responses

router = APIRouter(responses=responses(503))
for module in (accounts, logins, users):
    router.include_router(module.router)
