"""The admin service: `uvicorn app.admin_main:app`."""

from fastapi import FastAPI

from app.admin.dependencies import lifespan
from app.admin.routes import router
from app.bootstrap import create_app
from app.config import Settings, get_settings


def create(settings: Settings) -> FastAPI:
    """Build the service."""
    return create_app(
        settings,
        service="admin",
        description="Figures and operations, for admins.",
        router=router,
        lifespan=lifespan,
    )


app = create(get_settings())
