"""Benchmark of chat completions: the OpenAI-compatible API against the same direct question of the native one."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import httpx
import psutil

from benchmarks.comparison import running_comparison
from benchmarks.load import CPU_TICK

_SETTINGS = {"LLM_CACHE_TTL": "3600"}
_TOKENS = 40
_RATE = 1000.0
"""Tokens per second: each event of a stream has few of them, as the service sends those of 20 ms together."""

Request = tuple[str, dict[str, Any]]


def _native(question: str, *, stream: bool) -> Request:
    return f"/api/v1/chat/direct{'/stream' if stream else ''}", {"message": question}


def _completion(question: str, *, stream: bool) -> Request:
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": question}], "stream": stream}


_APIS: Mapping[str, Callable[..., Request]] = {"native": _native, "/v1": _completion}
_KINDS = {"answer": False, "stream": True}


def completions(*, rounds: int = 5, requests: int = 200) -> str:
    """Run the benchmark with `requests` requests per API and round, and return the report."""
    costs: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with running_comparison(sessions=1, tokens=_TOKENS, rate=_RATE, settings=_SETTINGS) as comparison:
        target = comparison.target("system", 1)
        process = psutil.Process(target.pid)
        headers = {"Authorization": f"Bearer {target.access_token}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{target.port}", headers=headers, timeout=60) as client:
            for number in range(rounds + 1):
                for kind, stream in _KINDS.items():
                    for name, api in _APIS.items():  # alternately, because the load of the machine varies
                        cost = _measure(client, process, api, requests, stream=stream)
                        if number:  # the first round warms up
                            costs[kind, name].append(cost)
    return _report(costs, f"{rounds} rounds of {requests} requests each")


def _measure(
    client: httpx.Client, process: psutil.Process, api: Callable[..., Request], requests: int, *, stream: bool
) -> float:
    """Return the CPU time of the service for a request, in seconds."""
    before = _cpu(process)
    for _ in range(requests):
        path, body = api(f"What is the answer to question {uuid4()}?", stream=stream)
        client.post(path, json=body).raise_for_status()
    return max(_cpu(process) - before, CPU_TICK) / requests


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _report(costs: Mapping[tuple[str, str], list[float]], extent: str) -> str:
    lines = [
        (
            f"{extent}, alternately both APIs, from one client. CPU is that of the chat service. Streams have "
            f"{_TOKENS} tokens. Values are medians of the rounds, with the lowest and highest ratio in parentheses."
        ),
        "",
        "| | native, CPU | `/v1`, CPU | ratio |",
        "|---|---|---|---|",
    ]
    for kind in _KINDS:
        native, completion = costs[kind, "native"], costs[kind, "/v1"]
        ratios = [ours / theirs for theirs, ours in zip(native, completion, strict=True)]
        values = f"{_milliseconds(native)} | {_milliseconds(completion)}"
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {kind} | {values} | **{statistics.median(ratios):.2f}** {spread} |")
    return "\n".join(lines)


def _milliseconds(costs: list[float]) -> str:
    return f"{statistics.median(costs) * 1000:.2f} ms"
