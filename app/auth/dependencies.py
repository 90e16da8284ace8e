"""The services of the auth service as a dependency of routes."""

from typing import Annotated

from fastapi import Depends, Request

from app.auth.lifespan import AuthServices


async def get_services(request: Request) -> AuthServices:
    """Return the services from the state of the lifespan."""
    services: AuthServices = request.state.auth
    return services


ServicesDep = Annotated[AuthServices, Depends(get_services)]
