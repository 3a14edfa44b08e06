"""The live view of a running sweep. In: `Progress`. Out: a bar on a terminal, else (logs, notebooks) a line a minute.

A line is written as well whenever something is decided. Each begins with the time of day, is flushed at once and is
never wrapped.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from sweep.config.messages import printable
from sweep.reporting.numbers import count, duration
from sweep.strategies.progress import Progress, seconds_left

SILENCE = 60.0
"""Seconds after which a line is due although nothing was decided."""
LOOK = 1.0
"""Seconds between two looks at whether a line is due."""


class LiveView:
    """Shows how far a sweep is; call it with every `Progress`. Use as a context."""

    def __init__(
        self,
        console: Console | None = None,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        """`console`: where to show it, by default stdout; `quiet`: nowhere.

        `clock`: seconds that only rise; `now`: the local time that a line begins with.
        """
        self.console = console = console or Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.clock, self.now = clock, now
        self.lines = not quiet and not console.is_terminal
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
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._timer = threading.Thread(target=self._look, daemon=True, name="progress")
        self.begun = self.written = clock()
        self._begin()

    def _begin(self) -> None:
        self.progress: Progress | None = None
        self.started, self.lanes_before = self.clock(), 0
        """When the first progress came, and lanes found finished: these say nothing about this session's pace."""
        self.shown = 0
        """Decisions that were shown, or made before this session."""

    def __enter__(self) -> "LiveView":
        self.bar.start()
        if self.lines:
            self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self.lines:
            self._timer.join(LOOK)
        self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show the newest progress."""
        with self._lock:
            first, self.progress = self.progress is None, progress
            if first:
                self.started, self.lanes_before, self.shown = self.clock(), progress.lanes_done, len(progress.decided)
                self._write(self._how_far())
            self._show_bar(progress)
            new = progress.decided[self.shown :]
            for decided in new[:-1]:
                self._write(decided)
            if new:
                self._write(f"{new[-1]}; {self._how_far()}")
            self.shown = max(self.shown, len(progress.decided))

    def tick(self) -> None:
        """Write a line if the last one is a minute old."""
        with self._lock:
            if self.clock() - self.written >= SILENCE:
                self._write(self._how_far())

    def labelled(self, label: str) -> Callable[[Progress], None]:
        """Return what shows the progress of one sweep of several, under a name."""
        with self._lock:
            self._begin()

        def show(progress: Progress) -> None:
            self(replace(progress, label=label, decided=tuple(f"{label}, {each}" for each in progress.decided)))

        return show

    def _look(self) -> None:
        # Who closed stdout gets no more lines; training goes on, and the driver says what there is to say.
        with suppress(OSError, ValueError):
            while not self._ended.wait(LOOK):
                self.tick()

    def _write(self, message: str) -> None:
        """Write one line, whatever its width: a file has no edge, and rich would wrap at 80 columns."""
        if self.lines:
            self.written = self.clock()
            print(f"{self.now():%H:%M:%S} {printable(message)}", file=self.console.file, flush=True)

    def _show_bar(self, progress: Progress) -> None:
        description = _where(progress)
        if progress.best_max_lr is not None:
            # Of an oracle that of the cycle before, which is decided; of a tuning that of the trials so far.
            description += f"; last decided: max_lr {progress.best_max_lr:.4g} ({progress.val_accuracy:.2f} %)"
        self.bar.update(
            self.task,
            description=description,
            completed=progress.lanes_done,
            total=progress.lanes_planned,
            left=self._left(progress),
        )

    def _how_far(self) -> str:
        progress, so_far = self.progress, f"{duration(self.clock() - self.begun)} elapsed"
        if progress is None:
            return f"starting, {so_far}"
        parts = [f"{_where(progress)}: {progress.lanes_done:,} of {progress.lanes_planned:,} lanes done"]
        if progress.under_way is not None:
            parts.append(f"{count(progress.under_way, 'pack')} in training")
        return ", ".join([*parts, so_far, *filter(None, [self._left(progress)])])

    def _left(self, progress: Progress) -> str:
        trained = progress.lanes_done - self.lanes_before  # less than none where lost lanes are trained again
        seconds = seconds_left(progress, trained, self.clock() - self.started)
        return "" if seconds is None else f"about {duration(seconds)} left"


def _where(progress: Progress) -> str:
    cycle = f"cycle {progress.cycle} of {progress.cycles}"
    return f"{progress.label}, {cycle}" if progress.label else cycle
