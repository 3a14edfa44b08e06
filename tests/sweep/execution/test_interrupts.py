"""Ctrl-C and SIGTERM wherever they come: while libraries are imported, Ray starts, networks train, Ray is shut down."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

Small = Callable[..., list[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]

TRIES = 30
ABREAST = 3
EARLY = 2.0
"""Seconds in which a loaded machine has read the command line's own modules, and listens to signals."""
GONE = 5.0
"""Seconds in which a worker that Ray was just starting notices that its raylet is gone, and ends."""
LIMIT = 30.0
"""Seconds to the end after a signal, on a machine that does other things too; alone it takes less than 10."""


@dataclass(frozen=True)
class Try:
    """A signal at some time after launch."""

    number: int
    after: float
    sent: signal.Signals
    twice: bool
    to_group: bool

    def send(self, process: subprocess.Popen[str]) -> None:
        """Send it to the process alone, as `kill` does, or to its group, as a terminal does."""
        for _ in range(1 + self.twice):
            if self.to_group:
                os.killpg(process.pid, self.sent)
            else:
                process.send_signal(self.sent)
            time.sleep(0.4 * self.twice)


def tries() -> list[Try]:
    """All of them, at times that are spread over the 12 seconds in which a small sweep on Ray begins and ends."""
    draw = random.Random(11)
    return [
        Try(
            number,
            0.2 + 12 * (number + draw.random()) / TRIES,
            draw.choice([signal.SIGINT, signal.SIGINT, signal.SIGTERM]),
            twice=draw.random() < 0.25,
            to_group=draw.random() < 0.5,
        )
        for number in range(TRIES)
    ]


def left_of(session: int) -> list[psutil.Process]:
    """The processes of a session that are still there: Ray's, too, stay in that of the command."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, ProcessLookupError):
            continue
    return found


@pytest.mark.ray
def test_wherever_a_signal_comes_the_command_ends_with_its_status_one_line_and_no_process_left(
    start: Start, here: Run, small: Small, tmp_path: Path
) -> None:
    settings = {"runs": 1, "cycles": 1, "engine": "ray", "workers": 2}

    def attempt(one: Try) -> str:
        """Return what was wrong, or nothing."""
        process = start(*small(out=tmp_path / str(one.number), **settings))
        try:
            process.communicate(timeout=one.after)
        except subprocess.TimeoutExpired:
            one.send(process)
        sent = time.monotonic()
        try:
            _, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"{one}: hangs: {process.communicate()}"
        seconds = time.monotonic() - sent
        while (left := left_of(process.pid)) and time.monotonic() - sent < seconds + GONE:
            time.sleep(0.1)
        for each in left:
            each.kill()
        told = f"{one}: {process.returncode} after {seconds:.1f} s, left {left}:\n{err}"
        if process.returncode == -one.sent and (one.after < EARLY or "tables and figures in" in err):
            return told if left else ""  # by Python's own handler: the command had not begun, or was over
        said = "interrupted" if one.sent == signal.SIGINT else "terminated"
        line = f"scyc-sweep: {said}; all finished lanes are kept. To go on: scyc-sweep oracle "
        if process.returncode == 128 + one.sent:
            good = err.strip().splitlines()[-1].startswith(line)
        else:
            good = process.returncode == 0
        return "" if good and not left and "Traceback" not in err else told

    with ThreadPoolExecutor(ABREAST) as pool:
        wrong = [found for found in pool.map(attempt, tries()) if found]
    assert not wrong, "\n".join(wrong)
    for one in tries():
        settings["engine"], settings["workers"] = "inline", "auto"
        assert here(*small(out=tmp_path / str(one.number), **settings)).returncode == 0, one
