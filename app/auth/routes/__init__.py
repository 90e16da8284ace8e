"""HTTP of the auth service, a module for each topic."""

from fastapi import APIRouter

from app.auth.routes import accounts, api_keys, logins, recovery, users
from app.core.handlers import responses

router = APIRouter(responses=responses(503))
for module in (accounts, api_keys, logins, users, recovery):
    router.include_router(module.router)
