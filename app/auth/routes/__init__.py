"""Routes of the auth service."""

from fastapi import APIRouter

from app.auth.routes import accounts, api_keys, config, email_links, invitations, logins, privacy, users
from app.http.errors import responses

router = APIRouter(responses=responses(429, 503))
for module in (config, accounts, api_keys, logins, privacy, email_links, users, invitations):
    router.include_router(module.router)
