"""Benchmark of admission control: CPU that it adds to a request that does not wait, such as a stored turn."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace

from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings
from app.core.schema_types import new_id
from app.core.security import AccessTokens
from app.http.admission import AdmissionMiddleware
from app.http.request_body import RequestBodyMiddleware, UploadDrainMiddleware
from app.services.limits.admission import AdmissionControl
from app.services.limits.rate_limiter import RateLimiter
from app.services.redis.client import open_redis
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker

_KEY = "a key of the benchmark, with 32 bytes or more"


def admission(*, rounds: int = 9, requests: int = 20_000) -> str:
    """Run the benchmark with `requests` requests per round, and return the report."""
    without, with_control = asyncio.run(_measure(rounds, requests))
    added = [after - before for before, after in zip(without, with_control, strict=True)]
    return (
        f"{rounds} rounds of {requests} requests each, alternately without and with admission control, in one process "
        "without a server. Values are medians of the rounds.\n\n"
        "| | CPU per request |\n|---|---|\n"
        f"| empty ASGI application | {statistics.median(without):.1f} µs |\n"
        f"| with whole body, admission and its release | {statistics.median(with_control):.1f} µs |\n"
        f"| **difference** | **{statistics.median(added):.1f} µs** ({min(added):.1f} to {max(added):.1f}) |"
    )


async def _measure(rounds: int, requests: int) -> tuple[list[float], list[float]]:
    settings = Settings(_env_file=None, DATABASE_URL="postgresql://nobody/nothing", SECRET_KEY=SecretStr(_KEY))
    tokens = AccessTokens(key=_KEY, algorithm="HS256", lifetime=timedelta(hours=1))
    redis = open_redis(settings)  # no command is sent
    state = {
        "rate_limits": RateLimiter(settings, redis, RedisCircuitBreaker(redis, budget=1)),
        "admission": AdmissionControl(settings),
        "resources": SimpleNamespace(access_tokens=tokens),
    }
    authorization = f"Bearer {tokens.issue(user_id=new_id(), session_id=new_id())}".encode()
    headers = [(b"authorization", authorization), (b"content-length", b"2")]
    inner = UploadDrainMiddleware(AdmissionMiddleware(_application, prefixes=("/api/v1/",)), max_bytes_by_path={})
    controlled = RequestBodyMiddleware(inner, max_bytes=16_384, max_seconds=15, streamed_paths=())
    applications: tuple[ASGIApp, ASGIApp] = (_application, controlled)
    costs: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for application, measured in zip(applications, costs, strict=True):
            measured.append(await _cost(application, state, headers, requests))
    return costs


async def _cost(
    application: ASGIApp, state: dict[str, object], headers: Sequence[tuple[bytes, bytes]], requests: int
) -> float:
    """Return the CPU time of a request in microseconds."""
    started = time.process_time()
    for _ in range(requests):
        scope = {"type": "http", "method": "POST", "path": "/api/v1/x", "client": ("127.0.0.1", 1), "headers": headers}
        await application(scope | {"state": dict(state)}, _receive, _send)
    return (time.process_time() - started) / requests * 1e6


async def _application(_scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _receive() -> Message:
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def _send(_message: Message) -> None:
    pass
