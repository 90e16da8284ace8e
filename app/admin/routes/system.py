"""How the system does."""

from fastapi import APIRouter

from app.admin import system
from app.admin.schemas.system import SystemState
from app.http.dependencies import AdminUser, ResourcesDep

router = APIRouter()


@router.get("/system")
async def get_system(_admin: AdminUser, resources: ResourcesDep) -> SystemState:
    """Return versions, migrations, the state of all processes, what waits, and how the workers' jobs went.

    What processes tell of themselves is up to ten seconds old.
    """
    return await system.get_system_state(resources)
