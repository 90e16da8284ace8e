"""HTTP server for the metrics and the health of a worker, on a port of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

import uvicorn
from fastapi import FastAPI, Response

from app.http.metrics import metrics_router
from app.observability.metrics import Metrics


class _Server(uvicorn.Server):
    """Server inside the loop of the worker, which handles the signals."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override] # a generator function there
        return nullcontext()


@asynccontextmanager
async def serving_metrics(metrics: Metrics, stopping: asyncio.Event, *, host: str, port: int) -> AsyncIterator[None]:
    """Serve `/metrics`, `/livez` and `/readyz` until the block ends.

    Raises:
        OSError: the port is in use.

    """
    app = FastAPI(openapi_url=None)
    app.include_router(metrics_router(metrics))

    @app.get("/livez")
    async def live() -> dict[str, str]:
        """Confirm that the event loop of the worker runs."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def ready(response: Response) -> dict[str, str]:
        """Return whether the worker runs its jobs. 503 while it stops."""
        response.status_code = 503 if stopping.is_set() else 200
        return {"status": "stopping" if stopping.is_set() else "healthy"}

    config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, server_header=False)
    server = _Server(config)
    listener = config.bind_socket()
    listener.listen()  # requests wait for the server from now on
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
