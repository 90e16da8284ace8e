"""Runs the stack in the foreground: starts it, says where it is, watches it, and stops it whatever happens."""

import signal
import time
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from local.display import LiveDisplay, PlainDisplay
from local.lock import AlreadyRunningError, hold_lock, running_stack
from local.orphans import end_orphans
from local.paths import shown_path
from local.ports import PortError
from local.process import ComponentFailedError
from local.stack import Stack
from local.watchdog import Watchdog

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WATCH_SECONDS = 0.2
_MODEL_PAUSE_SECONDS = 15


def run(stack: Stack) -> int:
    """Run the stack until it is told to stop; return the exit code: 0 for that, 1 for a failure, which is explained."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        with hold_lock(stack.home, stack.url):
            for part in end_orphans(stack.home):
                console.print(f"{part:<14} was left over from a run that was killed, and has been ended")
            with Watchdog(stack.home):
                _stop_on_signals()
                return _run(stack, console)
    except AlreadyRunningError:
        running = running_stack(stack.home)
        where = f" at {running.url} (process {running.supervisor.pid})" if running else ""
        console.print(f"The stack of this folder runs already{where}. `make down` stops it.")
        return 0


def _run(stack: Stack, console: Console) -> int:
    began = time.monotonic()
    try:
        with LiveDisplay(console) if console.is_terminal else PlainDisplay(console) as display:
            stack.start(display)
        _welcome(stack, console, time.monotonic() - began)
        _watch(stack, console)
    except PortError as error:
        console.print(f"[red]{escape(str(error))}")
        return 1
    except ComponentFailedError as error:
        _explain(error, console)
        _stop(stack, console)
        return 1
    except KeyboardInterrupt:
        console.print()
        _stop(stack, console)
    return 0


def _stop_on_signals() -> None:
    """Turn the first signal to stop into KeyboardInterrupt and ignore the next: stopping has its own time limits."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, pass_over)
        raise KeyboardInterrupt

    def pass_over(_number: int, _frame: FrameType | None) -> None:
        # Not SIG_IGN: a process that is being started just now would inherit that, and could not be stopped politely.
        pass

    for number in _STOP_SIGNALS:
        signal.signal(number, interrupt)


def _welcome(stack: Stack, console: Console, seconds: float) -> None:
    if stack.postgres is not None:
        for directory in stack.postgres.opened:
            if not directory.is_relative_to(stack.home):
                console.print(f"PostgreSQL cannot run as root: other users may now pass through (not list) {directory}")
    docs = " ".join(f"{stack.url}/api/v1/{service}/docs" for service in ("auth", "chat", "admin"))
    lines = {
        "Gateway": f"[bold]{stack.url}[/bold]",
        "Health": f"{stack.url}/health",
        "API docs": docs,
        "Admin": escape(stack.first_admin.login()),
        "Mail": f"{shown_path(stack.mail_directory)}/" if stack.mail_directory else "as MAIL_URL says",
        "Settings": f"{shown_path(stack.home / 'services.env')} (set -a; . .local/services.env; set +a)",
        "Logs": f"{shown_path(stack.home / 'logs')}/",
        "Try it": "make demo",
    }
    console.print(f"\nThe system is up after {seconds:.1f} s. Ctrl-C stops it.\n")
    for name, text in lines.items():
        console.print(f"  {name:<9} {text}")
    console.print()


def _watch(stack: Stack, console: Console) -> NoReturn:
    """Wait for a part to end.

    The model is started again after a pause, in which the chat service shows that it can live without one.

    Raises:
        PartFailedError: another part has ended, or the model does not come back.

    """
    model_returns_at: float | None = None
    while True:
        time.sleep(_WATCH_SECONDS)
        failures = stack.failures()
        model_failure = failures.pop(stack.model, None) if stack.model is not None else None
        for failure in failures.values():
            raise failure
        if stack.model is None or model_failure is None:
            continue
        if model_returns_at is None:
            model_returns_at = time.monotonic() + _MODEL_PAUSE_SECONDS
            _explain(model_failure, console)
            console.print(f"Until it starts again in {_MODEL_PAUSE_SECONDS} s, the chat service answers without it.")
        elif time.monotonic() >= model_returns_at:
            model_returns_at = None
            stack.model.start()
            console.print(f"{stack.model.name}: ready again")


def _explain(error: ComponentFailedError, console: Console) -> None:
    console.print(f"[red]{escape(str(error))}")
    if error.log is not None:
        console.print(f"[dim]The end of {escape(shown_path(error.log))}:")
        for line in error.log_end():
            console.print(f"  {escape(line)}")


def _stop(stack: Stack, console: Console) -> None:
    began = time.monotonic()
    console.print("Stopping ...")
    stack.stop()
    console.print(f"Stopped after {time.monotonic() - began:.1f} s.")
