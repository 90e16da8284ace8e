"""Entry point of the auth service: `uvicorn app.auth_main:app`."""

from fastapi import FastAPI

from app.auth.lifespan import lifespan
from app.auth.routes import router
from app.config import Settings, get_settings
from app.http.application import create_app
from app.http.documentation import add_documentation


def create(settings: Settings) -> FastAPI:
    """Return the application of the auth service."""
    app = create_app(
        settings, service="auth", description="Accounts, logins and tokens.", router=router, lifespan=lifespan
    )
    if settings.DEBUG:
        add_documentation(app, f"{settings.API_V1_STR}/auth/reference")
    return app


app = create(get_settings())
