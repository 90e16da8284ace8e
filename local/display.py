"""Progress display for the start of the stack: live on a terminal, plain lines elsewhere, silent for library use."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

_DETAIL_INTERVAL = 5.0


class Display:
    """Receives progress events of components from several threads. This base class shows nothing."""

    def begin(self, component: str) -> None:
        """Handle the start of a component."""

    def detail(self, component: str, text: str) -> None:
        """Handle a progress text of a component."""

    def done(self, component: str) -> None:
        """Handle the readiness of a component."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Seconds(ProgressColumn):
    """Column with the time that a component has taken, in tenths of a second."""

    def render(self, task: Task) -> Text:
        """Return the text of the column."""
        return Text(f"{task.finished_time or task.elapsed or 0:5.1f} s")


class LiveDisplay(Display):
    """Terminal display with one line per component."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<14}"),
            _Seconds(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def begin(self, component: str) -> None:
        """Add a line for the component."""
        self._tasks[component] = self._progress.add_task(component, total=1, detail="")

    def detail(self, component: str, text: str) -> None:
        """Show the progress text beside the component."""
        self._progress.update(self._tasks[component], detail=text)

    def done(self, component: str) -> None:
        """Mark the component as ready and stop its timer."""
        self._progress.update(self._tasks[component], completed=1, detail="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class PlainDisplay(Display):
    """Line-by-line display for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started_at: dict[str, float] = {}
        self._last_detail_at: dict[str, float] = {}

    def begin(self, component: str) -> None:
        """Store the start time of the component."""
        self._started_at[component] = self._last_detail_at[component] = time.monotonic()

    def detail(self, component: str, text: str) -> None:
        """Print the progress text, at most once per interval and component."""
        now = time.monotonic()
        if now - self._last_detail_at[component] >= _DETAIL_INTERVAL:
            self._last_detail_at[component] = now
            self._console.print(f"{component:<14} {text}")

    def done(self, component: str) -> None:
        """Print that the component is ready, and the time it took."""
        self._console.print(f"{component:<14} ready after {time.monotonic() - self._started_at[component]:.1f} s")
