"""Entry point of the admin service: `uvicorn app.admin_main:app`."""

from fastapi import FastAPI

from app.admin.lifespan import lifespan
from app.admin.routes import router
from app.config import Settings, get_settings
from app.http.application import create_app


def create(settings: Settings) -> FastAPI:
    """Return the application of the admin service."""
    return create_app(
        settings,
        service="admin",
        description="Analytics and operations for admins.",
        router=router,
        lifespan=lifespan,
    )


app = create(get_settings())
