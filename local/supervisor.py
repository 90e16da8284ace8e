"""Supervisor that runs the stack in the foreground: start, summary, monitoring, stop."""

import signal
import time
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.markup import escape

from local.display import LiveDisplay, PlainDisplay
from local.lock import AlreadyRunningError, hold_lock, running_stack
from local.orphans import end_orphans
from local.paths import display_path
from local.ports import PortError
from local.process import ComponentFailedError
from local.stack import Stack
from local.watchdog import Watchdog

if TYPE_CHECKING:
    from local.component import Component

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_INTERVAL = 0.2
_MODEL_RESTART_DELAY = 15
_REPLICA_RESTART_DELAY = 2


def run(stack: Stack) -> int:
    """Run the stack until a signal stops it, and return the exit code: 0 after a stop, 1 after a failure."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        with hold_lock(stack.home, stack.url):
            for component in end_orphans(stack.home):
                console.print(f"{component:<14} orphan process of an earlier run ended")
            with Watchdog(stack.home):
                _stop_on_signals()
                return _run(stack, console)
    except AlreadyRunningError:
        running = running_stack(stack.home)
        where = f" at {running.url} (supervisor process {running.supervisor.pid})" if running else ""
        console.print(f"The stack in this folder is already running{where}. `make down` stops it.")
        return 0


def _run(stack: Stack, console: Console) -> int:
    began = time.monotonic()
    try:
        with LiveDisplay(console) if console.is_terminal else PlainDisplay(console) as display:
            stack.start(display)
        _print_summary(stack, console, time.monotonic() - began)
        _watch(stack, console)
    except PortError as error:
        console.print(f"[red]{escape(str(error))}")
        return 1
    except ComponentFailedError as error:
        _print_failure(error, console)
        _stop(stack, console)
        return 1
    except KeyboardInterrupt:
        console.print()
        _stop(stack, console)
    return 0


def _stop_on_signals() -> None:
    """Raise KeyboardInterrupt on the first stop signal and ignore later ones: stopping has its own timeouts."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, ignore)
        raise KeyboardInterrupt

    def ignore(_number: int, _frame: FrameType | None) -> None:
        # Not SIG_IGN: a process that is being started would inherit it and ignore its stop signal.
        pass

    for number in _STOP_SIGNALS:
        signal.signal(number, interrupt)


def _print_summary(stack: Stack, console: Console, seconds: float) -> None:
    if stack.postgres is not None:
        for directory in stack.postgres.opened:
            if not directory.is_relative_to(stack.home):
                console.print(f"PostgreSQL cannot run as root: other users may now traverse (not list) {directory}")
    docs = " ".join(f"{stack.url}/api/v1/{service}/docs" for service in ("auth", "chat", "admin"))
    lines = {
        "Web page": f"[bold]{stack.url}/[/bold]",
        "Log in": f"as {escape(stack.first_admin.describe_login())}, or register an account",
        "Health": f"{stack.url}/health",
        "API docs": docs,
        "Mail": f"{display_path(stack.mail_directory)}/" if stack.mail_directory else "sent through MAIL_URL",
        "Settings": f"{display_path(stack.home / 'services.env')} (set -a; . .local/services.env; set +a)",
        "Logs": f"{display_path(stack.home / 'logs')}/",
        "Demo": "make demo",
    }
    console.print(f"\nThe system is ready after {seconds:.1f} s. Ctrl-C stops it.\n")
    for name, text in lines.items():
        console.print(f"  {name:<9} {text}")
    console.print()


def _watch(stack: Stack, console: Console) -> NoReturn:
    """Monitor the components.

    The model server and replicas of the chat service are restarted after a delay: the system works without them.

    Raises:
        ComponentFailedError: another component ended, or one of these could not be restarted.

    """
    restart_at: dict[Component, float] = {}
    while True:
        time.sleep(_POLL_INTERVAL)
        for component, failure in stack.failures().items():
            if not stack.restartable(component):
                raise failure
            if component not in restart_at:
                delay = _MODEL_RESTART_DELAY if component is stack.model else _REPLICA_RESTART_DELAY
                restart_at[component] = time.monotonic() + delay
                _print_failure(failure, console)
                meanwhile = "the chat service returns fallback messages" if component is stack.model else "others serve"
                console.print(f"It is restarted in {delay} s. Until then, {meanwhile}.")
            elif time.monotonic() >= restart_at[component]:
                del restart_at[component]
                component.start()
                console.print(f"{component.name}: restarted")


def _print_failure(error: ComponentFailedError, console: Console) -> None:
    console.print(f"[red]{escape(str(error))}")
    if error.log is not None:
        console.print(f"[dim]Last lines of {escape(display_path(error.log))}:")
        for line in error.log_end():
            console.print(f"  {escape(line)}")


def _stop(stack: Stack, console: Console) -> None:
    began = time.monotonic()
    console.print("Stopping ...")
    stack.stop()
    console.print(f"Stopped after {time.monotonic() - began:.1f} s.")
