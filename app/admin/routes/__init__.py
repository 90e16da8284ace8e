"""HTTP of the admin service, a module for each topic. Every route is for admins only."""

from fastapi import APIRouter

from app.admin.routes import accounts, analytics, audit, quotas, reports, sessions, system, webhooks
from app.core.handlers import responses

router = APIRouter(responses=responses(401, 403, 429, 503))
for module in (analytics, reports, accounts, quotas, sessions, audit, webhooks, system):
    router.include_router(module.router)
