"""Finished results folders, and what must hold of every command on a damaged copy of one.

A command ends within SECONDS, with the right tables or with one line, and changes nothing of the user's.
"""

import io
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from sweep import load
from sweep.cli.main import app, main
from sweep.errors import SweepError

SECONDS = 20
"""After which a command hangs; each takes less than one."""
MEMORY = 2 << 30
"""Bytes of addresses that a command may take on top of what the process has: a file that claims more is not read."""
TINY = "--engine inline --hidden 4 --steps 17 --runs 2 --max-lr 0.01,0.1,0.3 --lanes 1 --cycles 1 --out results"
SWEEPS = {
    "oracle": {
        "": f"oracle {TINY} --scyc 0.04,0.1,1,4",
        "controls/random": "control results --pruning random",
        "validation": "compare results --train",
    },
    "tune": {"": f"tune {TINY} --trials 4"},
    "schedules": {"": f"schedules {TINY} --schedules warmup-1 constant"},
}
"""The commands that fill each results folder, by the folder within it that they fill."""
MINE = {
    "results/notes.txt": "kept",
    "results/states/mine.txt": "kept too",
    "results/lanes/mine.csv": "1,2",
    "outside/file.txt": "a file",
    "outside/folder/mine.txt": "a file in a folder",
    "outside/folder/cycle00-run00-0123456789abcdef.parquet": "called like a file of rows",
    "outside/folder/states/state": "a state of something",
    "evil/__init__.py": "from pathlib import Path\nPath('outside/imported').touch()\n",
    "evil/sub.py": "def f(*shape): ...\n",
}
"""Files of the user's, within the results folder and beside it."""
SURROUNDINGS = {"results", "outside", "evil"}
WAYS = ("show", "report", "load")
TABLES = ("oracle", "curves", "comparison", "tuning", "chain", "schedules", "rates", "runs", "verdicts", "lanes")
TIMES = ["wall_seconds", "finished_at", "seconds"]


DRAWN = ("cycle", "run", "percent_remaining", "max_lr", "val_accuracy", "test_accuracy")
"""Columns of the rows that pictures are made of."""


class HangError(BaseException):
    """A command took too long; no `except Exception` ends it."""


@dataclass
class Ended:
    """How a command ended and what it gave."""

    code: int = 0
    gave: Any = None
    err: str = ""
    wrong: str = ""
    """What it raised that it should not have."""


class Case(NamedTuple):
    """One damage to a results folder."""

    name: str
    damage: Callable[[], object]
    """Called where `results` lies."""
    part: str = ""
    """The results folder within it that is damaged."""
    forged: bool = False
    """The damage has checksums that fit. What then fits together may be any sweep's truth, with tables of its own."""
    fewer: bool = False
    """The damage takes away what may be absent: other tables are no fault until the command has made it again."""


@dataclass
class Base:
    """A finished results folder, `results` in `home`."""

    name: str
    home: Path
    gave: dict[str, list[Any]] = field(default_factory=dict)
    """What opening it gives, by the folder within it."""
    drawing: ClassVar = False
    """Whether pictures are drawn: that takes as long as all the rest."""

    def check(self, cases: Iterable[tuple[Any, ...]], place: Path, rows: bool) -> None:
        """Fail with all that is wrong in any of these cases, each given as the values of a `Case`."""
        found = {}
        for each in cases:
            case = Case(*each)
            Base.drawing = rows and case.name.startswith(DRAWN)
            found[case.name] = list(self.wrong(case, place))
        wrong = {name: said for name, said in found.items() if said}
        text = "\n".join("\n    ".join([f"{self.name}, {name}:", *said]) for name, said in wrong.items())
        assert not wrong, f"{len(wrong)} of {len(found)} cases\n{text}"

    def wrong(self, case: Case, place: Path) -> Iterator[str]:
        """Give all commands on a damaged copy of the folder, and say what was wrong with how they ended."""
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.home, place)
        with chdir(place):
            whole = contents("results")
            case.damage()
            found = contents("results")
            intact = {path for path, content in found.items() if whole.get(path) == content and kept(path)}
            precious = {found[path]: path for path in {*intact, *(path for path in found if "mine" in path)}}
            outside = contents("outside")

            def harm(how: str, ended: Ended) -> Iterator[str]:
                if ended.wrong:
                    yield f"{how}: {ended.wrong}"
                elif ended.code and (ended.code not in (1, 2) or len(lines(ended)) != 1):
                    yield f"{how}: ends with {ended.code} and {ended.err[-600:]!r}"
                if contents("outside") != outside or {path.name for path in Path().iterdir()} != SURROUNDINGS:
                    yield f"{how}: changed something outside"
                if any(name.partition(".")[0] == "evil" for name in sys.modules):
                    yield f"{how}: imported a module of the user's"
                now = contents("results")
                lost = {precious[content]: content for content in precious.keys() - now.values()}
                if (lost and not lanes(lost) <= lanes(now)) or any("lanes/cycle" not in path for path in lost):
                    yield f"{how}: lost {sorted(lost)}"

            for how, ended, right in zip(WAYS, opened(case.part), self.gave[case.part], strict=True):
                yield from harm(how, ended)
                if ended.code and not ended.wrong and ended.err.count("\n") != 1:
                    yield f"{how}: more than one line: {ended.err[-600:]!r}"
                if not (ended.wrong or ended.code or case.forged or case.fewer or equal(ended.gave, right)):
                    yield f"{how}: another table, without a word"
            ended = run(SWEEPS[self.name][case.part])
            yield from harm("again", ended)
            if ended.code or ended.wrong or case.forged:
                return
            ended = guarded(partial(loaded, case.part))
            if ended.wrong or ended.code or not equal(ended.gave, self.gave[case.part][-1]):
                yield f"again: leaves another table {ended.wrong}{ended.err}"
            if gone := [path for path in whole if not (spare(path) or os.path.lexists(path))]:
                yield f"again: leaves no {sorted(gone)}"


def kept(path: str) -> bool:
    """Whether a file of a results folder holds a row or a state, or is the user's."""
    return Path(path).parent.name in ("lanes", "states", "superseded") or Path(path).suffix == ".txt"


def spare(path: str) -> bool:
    """Whether a file need not be there again.

    Rows get other names, controls.png is another command's, and chains train a lost network again when they go on.
    """
    chain = "states" in path and ("validation" in path or not Path("results/oracle.parquet").exists())
    return "lanes/cycle" in path or "mine" in path or path.endswith((".lock", ".log", "controls.png")) or chain


def lanes(files: dict[str, bytes]) -> set[str]:
    """The keys of all rows in these files."""
    found: set[str] = set()
    for path, content in files.items():
        if Path(path).parent.name in ("lanes", "superseded") and path.endswith(".parquet"):
            with suppress(pa.ArrowException, OSError, KeyError):
                found |= set(pq.read_table(pa.BufferReader(content))["lane_id"].to_pylist())
    return found


def lines(ended: Ended) -> list[str]:
    """The lines that say why a command failed."""
    return [line for line in ended.err.splitlines() if line.startswith("scyc-sweep: ")]


def contents(folder: str) -> dict[str, bytes]:
    """The content of the regular files of a sane size in a folder, by their paths."""
    found = (Path(above, name) for above, _, names in os.walk(folder) for name in names)
    plain = (path for path in found if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 24)
    return {str(path): path.read_bytes() for path in plain}


def guarded(action: Callable[[], Any]) -> Ended:
    """Carry out an action, within SECONDS and MEMORY."""
    ended = Ended()
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, before[1]))
    signal.signal(signal.SIGALRM, _hangs)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 1)
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            ended.gave = action()
    except SystemExit as error:
        ended.code, ended.gave = int(error.code or 0), out.getvalue()
    except SweepError as error:
        ended.code = 2
        err.write(f"scyc-sweep: {error}\n")
    except BaseException as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        assert trace is not None
        where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        ended.wrong = f"{type(error).__name__}: {str(error)[:150]} ({where})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
    ended.err = err.getvalue()
    return ended


def _hangs(number: int, frame: object) -> None:
    for path in Path().rglob("*"):
        if path.is_fifo():  # whoever waits at its other end goes on
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    raise HangError


def run(command: str) -> Ended:
    """Run a command in this process."""
    sys.argv = ["scyc-sweep", *command.split()]
    return guarded(main)


def drawn(draw: Callable[..., None], results: Any, path: Path, *others: Any) -> None:
    """Draw a picture, where pictures are drawn, and leave a few bytes, which takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, path, **options: None)
        if Base.drawing:
            draw(results, path, *others)
    path.write_bytes(b"a picture")


@cache
def parsed(tokens: tuple[str, ...]) -> Callable[[], Any]:
    """Return a command with its arguments; to parse it takes as long as to refuse a folder."""
    command, given, _ = app.parse_args(tokens)
    return partial(command, *given.args, **given.kwargs)


def opened(part: str) -> list[Ended]:
    """Show, report and load a results folder."""
    folder = f"results/{part}".removesuffix("/")
    shown, reported = run(f"show {folder}"), run("report results -o report.html")
    if Path("report.html").is_file():
        reported.gave = Path("report.html").read_text()
        Path("report.html").unlink()
    return [shown, reported, guarded(partial(loaded, part))]


def loaded(part: str) -> dict[str, pd.DataFrame]:
    """The tables of a results folder, but for what differs from one training to the next."""
    results = load(f"results/{part}")
    found = {name: getattr(results, name) for name in TABLES if hasattr(type(results), name)}
    frames = {name: table for name, table in found.items() if isinstance(table, pd.DataFrame)}
    return {name: table.drop(columns=TIMES, errors="ignore") for name, table in frames.items()}


def equal(ours: Any, theirs: Any) -> bool:
    """Whether what a command gave is what it should have given; tables are equal bit for bit."""
    if not isinstance(theirs, dict):
        return bool(ours == theirs)
    return ours.keys() == theirs.keys() and all(ours[name].equals(theirs[name]) for name in theirs)


@pytest.fixture(scope="module")  # what it replaces must come back for the tests of others
def bases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Base]]:
    """The undisturbed folders, one for each kind of sweep."""
    import_module("sweep.experiments.runner")  # torch's libraries take more than MEMORY
    from sweep.experiments import registry
    from sweep.experiments.oracle import figures

    found = {}
    with pytest.MonkeyPatch.context() as patch:
        # Nothing waits for the disk, and statsmodels collects no garbage in each of its tests.
        patch.setattr("os.fsync", lambda file: None)
        patch.setattr("gc.collect", lambda generation=2: 0)
        for experiment in map(registry.experiment, registry.EXPERIMENTS):
            for name, draw in experiment.figures.items():
                patch.setitem(experiment.figures, name, partial(drawn, draw))
        for name in ("trajectory", "controls"):  # drawn by `compare` and `control` too
            patch.setattr(figures, name, partial(drawn, getattr(figures, name)))
        patch.setattr(sys, "argv", sys.argv)
        patch.setattr("sweep.cli.main.call", lambda tokens: parsed(tuple(tokens))())
        for name, commands in SWEEPS.items():
            found[name] = base = Base(name, tmp_path_factory.mktemp(name))
            with chdir(base.home):
                for command in commands.values():
                    ended = run(command)
                    assert (ended.code, ended.wrong) == (0, ""), ended
                for path, text in MINE.items():
                    Path(path).parent.mkdir(parents=True, exist_ok=True)
                    Path(path).write_text(text)
                for part in commands:
                    endings = opened(part)
                    assert all((ended.code, ended.wrong) == (0, "") for ended in endings), endings
                    base.gave[part] = [ended.gave for ended in endings]
        yield found
