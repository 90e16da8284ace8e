"""Services of the admin service as dependencies of routes."""

from typing import Annotated

from fastapi import Depends, Request

from app.admin.sessions import SessionAdminService


async def _get_session_admin(request: Request) -> SessionAdminService:
    service: SessionAdminService = request.state.session_admin
    return service


SessionAdminDep = Annotated[SessionAdminService, Depends(_get_session_admin)]
