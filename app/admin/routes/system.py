"""Route of the system status."""

from fastapi import APIRouter

from app.admin import system
from app.admin.schemas.system import SystemState
from app.http.authentication import AdminUser
from app.http.dependencies import ResourcesDep

router = APIRouter()


@router.get("/system")
async def get_system(_admin: AdminUser, resources: ResourcesDep) -> SystemState:
    """Return versions, migrations, the state of all processes, queue lengths and worker jobs.

    The state of a process is that of its last heartbeat, which it sends every ten seconds.
    """
    return await system.get_system_state(resources)
