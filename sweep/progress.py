"""The live view of a running sweep. In: `Progress`. Out: a bar on a terminal, else (logs, notebooks) a line a cycle."""

import time
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from sweep.strategy import Progress


class LiveView:
    """Shows how far a sweep is; call it with every `Progress`. Use as a context."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        """`console`: where to show it, by default stdout; `quiet`: nowhere."""
        self.console = console = console or Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.quiet = quiet
        self.bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("lanes"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self.task = self.bar.add_task("starting", total=None, left="")
        self.started: tuple[float, int] | None = None
        self.shown = ("", -1)

    def __enter__(self) -> "LiveView":
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show the newest progress."""
        now = time.monotonic()
        if self.started is None:
            self.started = now, progress.lanes_done
        left = self._left(progress, now)
        description = f"cycle {progress.cycle} of {progress.cycles}"
        if progress.label:
            description = f"{progress.label}, {description}"
        if progress.best_max_lr is not None:
            # Of an oracle that of the cycle before, which is decided; of a tuning that of the trials so far.
            best = f"max_lr {progress.best_max_lr:.4g} ({progress.val_accuracy:.2f} %)"
            description += f"; last decided: {best}"
        self.bar.update(
            self.task, description=description, completed=progress.lanes_done, total=progress.lanes_planned, left=left
        )
        if not self.quiet and not self.console.is_terminal and (progress.label, progress.cycle) != self.shown:
            self.shown = progress.label, progress.cycle
            self.console.print(
                f"{description}; {progress.lanes_done} of {progress.lanes_planned} lanes {left}", highlight=False
            )

    def labelled(self, label: str) -> Callable[[Progress], None]:
        """Return what shows the progress of one sweep of several, under a name."""
        self.started = None
        return lambda progress: self(replace(progress, label=label))

    def _left(self, progress: Progress, now: float) -> str:
        """Return the time left at the pace of this session; lanes found finished say nothing about it."""
        assert self.started is not None
        since, before = self.started
        trained = progress.lanes_done - before
        if trained <= 0:  # what was lost is trained again
            return ""
        seconds = (now - since) / trained * (progress.lanes_planned - progress.lanes_done)
        return f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """Return a duration as a person says it: 48 s, 12 min, 3.5 h, 2.1 days."""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.{1 if unit == 'h' else 0}f} {unit}"
    return f"{seconds / 86_400:.1f} days"
