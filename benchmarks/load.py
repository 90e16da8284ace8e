"""Load generator in a separate process: `python -m benchmarks.load`, with a plan and the results as JSON.

It reads the CPU time of the service at the beginning and the end of the measurement.
"""

import asyncio
import dataclasses
import functools
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import psutil
import uvloop

from benchmarks.provider import WORD

_TOKEN = WORD.strip().encode()
_END = b"event: message.completed"
_TURN_TIMEOUT = 120.0

CPU_TICK = 0.01
"""Resolution of the CPU time that the kernel reports, in seconds."""


@dataclass(frozen=True)
class Target:
    """A service under load."""

    port: int
    pid: int
    """Process id of the service."""
    access_token: str
    sessions: list[str]
    """One session per client."""

    def request(self, session: str, path: str, connection: str) -> bytes:
        """Return the bytes of a request with a unique question."""
        body = json.dumps({"message": f"What is the answer to question {uuid4()}?"}).encode()
        head = (
            f"POST /api/v1/chat/sessions/{session}/{path} HTTP/1.1\r\nHost: localhost:{self.port}\r\n"
            f"Authorization: Bearer {self.access_token}\r\nContent-Type: application/json\r\n"
            f"Connection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True)
class Turns:
    """Measurements of answers in one response."""

    seconds: list[float]
    """Duration of each turn, from the question to the answer."""
    cpu: float
    """CPU time of the service for all turns, in seconds."""


@dataclass(frozen=True)
class Streams:
    """Measurements of streamed answers."""

    first: list[float]
    """Seconds from the question to the first token, of each stream."""
    gap: float
    """Maximum time between two tokens of a stream, ramp-up included."""
    tokens: int
    """Tokens of all streams in the steady phase, in which no stream begins or ends."""
    cpu: float
    """CPU time of the service in the steady phase, in seconds."""
    load_cpu: float
    """CPU time of the load generator in the steady phase, in seconds."""
    seconds: float
    """Duration of the steady phase."""


def measure_turns(target: Target, count: int) -> Turns:
    """Let every client ask `count` questions, one after the other."""
    return Turns(**_run("turns", target, count=count))


def measure_streams(target: Target, *, ramp: float, steady: float, tokens: int) -> Streams:
    """Start the streams evenly within `ramp` seconds, and measure for `steady` seconds after that."""
    return Streams(**_run("streams", target, ramp=ramp, steady=steady, tokens=tokens))


def _run(mode: str, target: Target, **options: float) -> dict[str, Any]:
    plan = json.dumps({"mode": mode, "target": dataclasses.asdict(target), "options": options})
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"], input=plan, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def main() -> None:
    """Run the plan from standard input and write the results to standard output."""
    plan = json.load(sys.stdin)
    target = Target(**plan["target"])
    result: Turns | Streams
    if plan["mode"] == "turns":
        result = uvloop.run(_turns(target, **plan["options"]))
    else:
        result = uvloop.run(_streams(target, **plan["options"]))
    json.dump(dataclasses.asdict(result), sys.stdout)


async def _turns(target: Target, count: int) -> Turns:
    seconds: list[float] = []

    async def ask_all(session: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        for _ in range(count):
            request = target.request(session, "messages", "keep-alive")
            started = time.perf_counter()
            writer.write(request)
            await _read_answer(reader)
            seconds.append(time.perf_counter() - started)
        writer.close()

    before = _cpu(target.pid)
    async with asyncio.timeout(_TURN_TIMEOUT), asyncio.TaskGroup() as group:
        for session in target.sessions:
            group.create_task(ask_all(session))
    return Turns(seconds, _cpu(target.pid) - before)


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
    if not head.startswith(b"http/1.1 200") or _TOKEN not in body:
        raise SystemExit(f"unexpected response: {head.decode()}{body.decode()}")


class _Stream(asyncio.Protocol):
    """Client of one stream. A raw protocol, because the load generator must use less CPU than the measured service."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._remainder = b""
        self._status = b""
        self._last_at = 0.0
        self._is_over = False
        self.tokens = 0
        self.gap = 0.0
        self.first: float | None = None
        self.closed = asyncio.get_running_loop().create_future()

    def check(self, tokens: int) -> None:
        """Check that the stream is complete.

        Raises:
            SystemExit: tokens or the final event are missing.

        """
        if not self._is_over or self.tokens != tokens:
            raise SystemExit(f"a stream had {self.tokens} of {tokens} tokens: {self._status.decode()}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._asked_at = time.perf_counter()
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return  # the final event repeats the whole answer
        now = time.perf_counter()
        self._status = self._status or data.partition(b"\r\n")[0]
        before, end, _ = (self._remainder + data).partition(_END)
        self._is_over = bool(end)
        # An incomplete line may be the beginning of a token or of the final event: it is parsed with the next data.
        whole, line_end, self._remainder = before.rpartition(b"\n")
        tokens = (before if end else whole + line_end).count(_TOKEN)
        if not tokens:
            return
        if self.first is None:
            self.first = now - self._asked_at
        else:
            self.gap = max(self.gap, now - self._last_at)
        self._last_at = now
        self.tokens += tokens

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's call
        if not self.closed.done():
            self.closed.set_result(None)


async def _streams(target: Target, ramp: float, steady: float, tokens: int) -> Streams:
    loop = asyncio.get_running_loop()
    streams: list[_Stream] = []

    def read_counters() -> tuple[float, float, float, int]:
        own = psutil.Process().cpu_times()
        received = sum(stream.tokens for stream in streams)
        return time.perf_counter(), _cpu(target.pid), own.user + own.system, received

    for session in target.sessions:
        request = target.request(session, "messages/stream", "close")
        _, stream = await loop.create_connection(functools.partial(_Stream, request), "127.0.0.1", target.port)
        streams.append(stream)
        await asyncio.sleep(ramp / len(target.sessions))
    await asyncio.sleep(1)
    before = read_counters()
    await asyncio.sleep(steady)
    after = read_counters()
    async with asyncio.timeout(_TURN_TIMEOUT):
        await asyncio.gather(*(stream.closed for stream in streams))
    for stream in streams:
        stream.check(tokens)
    seconds, cpu, load_cpu, received = (now - then for now, then in zip(after, before, strict=True))
    return Streams(
        first=[stream.first for stream in streams if stream.first is not None],
        gap=max(stream.gap for stream in streams),
        tokens=int(received),
        cpu=cpu,
        load_cpu=load_cpu,
        seconds=seconds,
    )


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
