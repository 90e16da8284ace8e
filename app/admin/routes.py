"""HTTP of the admin service. Every route is for admins only."""

from fastapi import APIRouter

from app.admin import analytics
from app.admin.schemas import Overview
from app.core.handlers import responses
from app.dependencies import AdminUser, SessionDep

router = APIRouter(responses=responses(401, 403, 429, 503))


@router.get("/overview")
async def get_overview(_admin: AdminUser, transaction: SessionDep) -> Overview:
    """Return the system's figures."""
    return await analytics.overview(transaction)
