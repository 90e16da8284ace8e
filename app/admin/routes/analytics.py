"""What was used, and how it went."""

from fastapi import APIRouter

from app.admin import analytics
from app.admin.schemas.analytics import Overview
from app.dependencies import AdminUser, SessionDep

router = APIRouter()


@router.get("/overview")
async def get_overview(_admin: AdminUser, transaction: SessionDep) -> Overview:
    """Return the system's figures."""
    return await analytics.overview(transaction)
