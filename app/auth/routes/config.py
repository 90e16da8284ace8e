"""Route of the public configuration, which pages read before a login."""

from fastapi import APIRouter, Response

from app.auth.dependencies import ServicesDep
from app.auth.schemas.config import PublicConfig

router = APIRouter()


@router.get("/config")
async def get_config(services: ServicesDep, response: Response) -> PublicConfig:
    """Return the product name, who may register, and the rules and limits of input. Needs no login."""
    response.headers["Cache-Control"] = "public, max-age=60"
    return services.public_config
