"""Components of the running stack, and their logs."""

import json
from typing import Any

import psutil

from local.component import Component
from local.orphans import recorded_processes
from local.stack import Stack
from tests.support.waiting import wait_until


def component(stack: Stack, name: str) -> Component:
    return next(candidate for candidate, _ in stack._components if candidate.name == name)


def process(stack: Stack, name: str) -> psutil.Process:
    return psutil.Process(recorded_processes(stack.home)[name].pid)


def kill(stack: Stack, name: str) -> Component:
    """Kill a component of the stack with SIGKILL. It can be started again."""
    process(stack, name).kill()
    killed = component(stack, name)
    killed.stop()
    return killed


def log_lines(stack: Stack, name: str) -> list[dict[str, Any]]:
    lines = (stack.home / "logs" / f"{name}.log").read_text().splitlines(keepends=True)
    lines = [line for line in lines if line.endswith("\n")]  # the last one may not have been written to its end
    if name == "nginx":  # without the error log, which is not JSON
        lines = [line for line in lines if line.startswith("{")]
    return [json.loads(line) for line in lines]


def wait_for_log(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Wait for the first log lines of a component: the worker has no readiness check."""
    wait_until(lambda: log_lines(stack, name))
    return log_lines(stack, name)


def lines_of_request(stack: Stack, name: str, request_id: str) -> list[dict[str, Any]]:
    """Wait for the log lines of a component about a request."""

    def lines() -> list[dict[str, Any]]:
        return [line for line in log_lines(stack, name) if line.get("request_id") == request_id]

    wait_until(lines)
    return lines()
