"""The services of the chat service as a dependency of routes."""

from typing import Annotated

from fastapi import Depends, Request

from app.chat.lifespan import ChatServices


async def get_services(request: Request) -> ChatServices:
    """Return the services from the state of the lifespan."""
    services: ChatServices = request.state.chat
    return services


ServicesDep = Annotated[ChatServices, Depends(get_services)]
