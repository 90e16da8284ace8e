"""Routes of the auth service."""

from fastapi import APIRouter

from app.auth.routes import accounts, api_keys, logins, privacy, recovery, users
from app.http.errors import responses

router = APIRouter(responses=responses(429, 503))
for module in (accounts, api_keys, logins, privacy, recovery, users):
    router.include_router(module.router)
