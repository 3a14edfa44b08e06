"""What all tests share: the command line as a user runs it, and a sweep small enough to be run many times."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SMALL = {"max-lr": "0.01:1:x4", "runs": "2", "cycles": "2", "steps": "68", "lanes": "2", "engine": "inline"}
"""Three cycles of 4 max_lr and 2 runs in packs of 2: 24 lanes, 12 packs, two epochs each, in one process."""

Start = Callable[..., subprocess.Popen[str]]


Small = Callable[..., list[str]]


@pytest.fixture(scope="session")
def small() -> Small:
    """Return the arguments of a small oracle; keyword arguments replace its flags."""

    def arguments(**flags: object) -> list[str]:
        settings = SMALL | {name.replace("_", "-"): str(value) for name, value in flags.items()}
        return ["oracle", *(part for name, value in settings.items() for part in (f"--{name}", value))]

    return arguments


@pytest.fixture(scope="session")
def start() -> Iterator[Start]:
    """Start `scyc-sweep` with the given arguments in a process group of its own.

    What a failed test leaves running is ended after the last test, so that one failure stays one.
    """
    started: list[subprocess.Popen[str]] = []

    def popen(
        *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", "from sweep.cli import main; main()", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
            start_new_session=True,
            # A test run in the background ignores Ctrl-C, and its children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        return process

    yield popen
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def run(start: Start) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `scyc-sweep` with the given arguments to its end."""

    def complete(*arguments: str | Path, timeout: float = 300, **options: object) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return complete


@pytest.fixture
def here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `scyc-sweep` with the given arguments in this process: the same, without three seconds of imports."""
    from sweep.cli import main  # the tests of `trainables` run where what `sweep` needs is not installed

    def complete(
        *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        if cwd:
            monkeypatch.chdir(cwd)
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["scyc-sweep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), out, err)

    return complete
