"""Asks questions, in a process of its own: `python -m benchmarks.load`, a plan as JSON in, what was measured out.

It reads the CPU time of the service by itself, at the moments that it counts between.
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
_LONGEST_TURN = 120.0

CPU_TICK = 0.01
"""Seconds: what the system counts CPU time in. Less is not seen."""


@dataclass(frozen=True)
class Target:
    """Who is asked."""

    port: int
    pid: int
    """Of the service."""
    access_token: str
    sessions: list[str]
    """One for each client."""

    def request(self, session: str, path: str, connection: str) -> bytes:
        """Return the bytes of a question that has not been asked before."""
        body = json.dumps({"message": f"What is the answer to question {uuid4()}?"}).encode()
        head = (
            f"POST /api/v1/chat/sessions/{session}/{path} HTTP/1.1\r\nHost: localhost:{self.port}\r\n"
            f"Authorization: Bearer {self.access_token}\r\nContent-Type: application/json\r\n"
            f"Connection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True)
class Turns:
    """Answers in one piece."""

    seconds: list[float]
    """Of each turn, from the question to the answer."""
    cpu: float
    """Seconds of the service for all of them."""


@dataclass(frozen=True)
class Streams:
    """Answers token by token."""

    first: list[float]
    """Of each stream, the seconds from the question to the first token."""
    gap: float
    """The longest time between two tokens, the end of the ramp-up to come."""
    tokens: int
    """Tokens of all streams while none of them began or ended."""
    cpu: float
    """Seconds of the service meanwhile."""
    load_cpu: float
    """Seconds of this process meanwhile."""
    seconds: float
    """How long that was."""


def measure_turns(target: Target, count: int) -> Turns:
    """Have every client ask one question after the other, `count` times."""
    return Turns(**_run("turns", target, count=count))


def measure_streams(target: Target, *, ramp: float, steady: float, tokens: int) -> Streams:
    """Start the streams one after the other within `ramp` seconds, and watch them for `steady` more."""
    return Streams(**_run("streams", target, ramp=ramp, steady=steady, tokens=tokens))


def _run(kind: str, target: Target, **options: float) -> dict[str, Any]:
    plan = json.dumps({"kind": kind, "target": dataclasses.asdict(target), "options": options})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"], input=plan, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    """Carry out the plan."""
    plan = json.load(sys.stdin)
    target = Target(**plan["target"])
    result: Turns | Streams
    if plan["kind"] == "turns":
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
    async with asyncio.timeout(_LONGEST_TURN), asyncio.TaskGroup() as group:
        for session in target.sessions:
            group.create_task(ask_all(session))
    return Turns(seconds, _cpu(target.pid) - before)


async def _read_answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
    if not head.startswith(b"http/1.1 200") or _TOKEN not in body:
        raise SystemExit(f"not an answer: {head.decode()}{body.decode()}")


class _Stream(asyncio.Protocol):
    """One client, and what it has seen. A raw protocol: everything else would cost more than the service measured."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self._status = b""
        self._last_at = 0.0
        self._is_over = False
        self.tokens = 0
        self.gap = 0.0
        self.first: float | None = None
        self.closed = asyncio.get_running_loop().create_future()

    def check(self, tokens: int) -> None:
        """Make sure that it brought the whole answer."""
        if not self._is_over or self.tokens != tokens:
            raise SystemExit(f"a stream brought {self.tokens} tokens of {tokens}: {self._status.decode()}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._asked_at = time.perf_counter()
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return  # the end brings the whole answer once more
        now = time.perf_counter()
        self._status = self._status or data.partition(b"\r\n")[0]
        before, end, _ = (self._rest + data).partition(_END)
        self._is_over = bool(end)
        # What may be the beginning of a token, or of the end, is looked at again with what follows.
        whole, line_end, self._rest = before.rpartition(b"\n")
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

    def read() -> tuple[float, float, float, int]:
        own = psutil.Process().cpu_times()
        received = sum(stream.tokens for stream in streams)
        return time.perf_counter(), _cpu(target.pid), own.user + own.system, received

    for session in target.sessions:
        request = target.request(session, "messages/stream", "close")
        _, stream = await loop.create_connection(functools.partial(_Stream, request), "127.0.0.1", target.port)
        streams.append(stream)
        await asyncio.sleep(ramp / len(target.sessions))
    await asyncio.sleep(1)
    before = read()
    await asyncio.sleep(steady)
    after = read()
    async with asyncio.timeout(_LONGEST_TURN):
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
