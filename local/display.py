"""What the user sees while the stack starts: live on a terminal, plain lines elsewhere, nothing for a library."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

_DETAIL_SECONDS = 5.0


class Display:
    """Is told how the parts come up, by several threads. This one shows nothing."""

    def begin(self, part: str) -> None:
        """Note that a part starts."""

    def detail(self, part: str, text: str) -> None:
        """Note what a part is doing."""

    def done(self, part: str) -> None:
        """Note that a part is ready."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class _Seconds(ProgressColumn):
    """The time a part has taken, to a tenth."""

    def render(self, task: Task) -> Text:
        """Return it as text."""
        return Text(f"{task.finished_time or task.elapsed or 0:5.1f} s")


class LiveDisplay(Display):
    """One line a part, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<14}"),
            _Seconds(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def begin(self, part: str) -> None:
        """Add the part's line."""
        self._tasks[part] = self._progress.add_task(part, total=1, detail="")

    def detail(self, part: str, text: str) -> None:
        """Show the words behind the part."""
        self._progress.update(self._tasks[part], detail=text)

    def done(self, part: str) -> None:
        """Stop the part's clock."""
        self._progress.update(self._tasks[part], completed=1, detail="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


class PlainDisplay(Display):
    """One line for each thing worth a line, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun: dict[str, float] = {}
        self._last_detail: dict[str, float] = {}

    def begin(self, part: str) -> None:
        """Remember when."""
        self._begun[part] = self._last_detail[part] = time.monotonic()

    def detail(self, part: str, text: str) -> None:
        """Print the words, now and then."""
        now = time.monotonic()
        if now - self._last_detail[part] >= _DETAIL_SECONDS:
            self._last_detail[part] = now
            self._console.print(f"{part:<14} {text}")

    def done(self, part: str) -> None:
        """Print that the part is ready, and how long it took."""
        self._console.print(f"{part:<14} ready after {time.monotonic() - self._begun[part]:.1f} s")
