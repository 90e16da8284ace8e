"""Routes of the admin service, one module for each topic. All routes require an admin."""

from fastapi import APIRouter

from app.admin.routes import account_usage, analytics, audit, csv_reports, quotas, sessions, shares, system, webhooks
from app.http.errors import responses

router = APIRouter(responses=responses(401, 403, 429, 503))
for module in (analytics, csv_reports, account_usage, quotas, sessions, shares, audit, webhooks, system):
    router.include_router(module.router)
