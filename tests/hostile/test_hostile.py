"""Results folders as a failing disk, a careless hand or an attacker leaves them.

One damage at a time, to every file, every key of the manifest and every column of the rows. Then the folder is opened in
each way there is, and the command that made it is given again. Each must end with the right tables or with one line;
nothing outside the folder may change, nor a file of the user's in it, and no module of the user's may be imported.
"""

import io
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from sweep import load, tables
from sweep.cli import main
from sweep.errors import SweepError

SECONDS = 5
"""After which a command hangs; each takes less than one."""
MEMORY = 1 << 30
"""Bytes of addresses that a case may take on top of what the process has: a file that claims more is not read."""
TINY = "--engine inline --hidden 4 --steps 17 --runs 2 --max-lr 0.01,0.1,0.3 --lanes 2 --out results"
SWEEPS = {
    "oracle": {
        "": f"oracle {TINY} --cycles 1 --scyc 0.04,0.1,1,4",
        "controls/random": "control results --pruning random",
        "trained": "compare results --train",
    },
    "tuning": {"": f"tune {TINY} --cycles 1 --trials 4"},
    "schedules": {"": f"schedules {TINY} --cycles 1 --schedules warmup-1 constant"},
}
"""The commands that fill each results folder, by the folder within it that they fill."""
TABLES = ("oracle", "curves", "comparison", "tuning", "chain", "schedules", "rates", "runs", "verdicts", "trials")
TIMES = ("wall_seconds", "finished_at", "seconds")


class HangError(BaseException):
    """A command took too long; no `except Exception` ends it."""


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    wrong: str = ""


@dataclass
class Base:
    """A finished results folder, `results` in `home`, and what its commands print."""

    name: str
    home: Path
    seen: dict[str, list[object]] = field(default_factory=dict)
    """By folder within it: what is shown, reported and loaded of it."""


def run(*arguments: str) -> Ended:
    """Run a command in this process, within SECONDS and MEMORY."""
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["scyc-sweep", *arguments]
    ended = Ended(-1, "", "")
    with redirect_stdout(out), redirect_stderr(err):
        ended.wrong = guarded(main, ended)
    ended.out, ended.err = out.getvalue(), err.getvalue()
    return ended


def guarded(action: Callable[[], object], ended: Ended) -> str:
    """Carry out an action, within SECONDS and MEMORY; return what it raised that it should not have."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, before[1]))
    signal.signal(signal.SIGALRM, _hangs)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, 1)
    try:
        action()
    except SystemExit as error:
        ended.code = error.code if isinstance(error.code, int) else 0
    except SweepError as error:
        ended.code, ended.err = 2, f"{error}\n"
    except BaseException as error:
        trace, places = error.__traceback__, []
        while trace is not None:
            places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
            trace = trace.tb_next
        return f"{type(error).__name__}: {str(error)[:150]} ({' '.join(places[-4:])})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
    return ""


def _hangs(number: int, frame: object) -> None:
    for path in Path().rglob("*"):
        if path.is_fifo():  # whoever waits at its other end goes on
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    raise HangError


def loaded(folder: str) -> dict[str, pd.DataFrame]:
    """The tables of a results folder, without times."""
    results = load(folder)
    found = {name: getattr(results, name) for name in TABLES if hasattr(type(results), name) and name != results.kind}
    found[results.kind] = getattr(results, "verdicts" if results.kind == "trained" else results.kind)
    frames = {name: table for name, table in found.items() if isinstance(table, pd.DataFrame)}
    return {name: table.drop(columns=list(TIMES), errors="ignore") for name, table in frames.items()}


def same(ours: dict[str, pd.DataFrame], theirs: dict[str, pd.DataFrame]) -> bool:
    """Whether tables are equal, bit for bit."""
    return ours.keys() == theirs.keys() and all(ours[name].equals(theirs[name]) for name in theirs)


def opened(part: str) -> list[tuple[str, Ended, object]]:
    """Open a results folder in each way: how, how it ended, and what it gave."""
    folder = "/".join(filter(None, ("results", part)))
    shown, reported, python = run("show", folder), run("report", "results", "-o", "report.html"), Ended(0, "", "")
    page = Path("report.html").read_text() if reported.code == 0 else None
    Path("report.html").unlink(missing_ok=True)
    found: list[dict[str, pd.DataFrame]] = []
    python.wrong = guarded(lambda: found.append(loaded(folder)), python)
    return [("show", shown, shown.out), ("report", reported, page), ("load", python, found[0] if found else None)]


def left(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All that lies in a folder: content and time of its files."""
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else (b"", 0)
        for path in folder.rglob("*")
    }


def contents(folder: Path) -> dict[str, bytes]:
    """The content of the regular files of a sane size in a folder, by their paths within it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 24
    }


@pytest.fixture(scope="session", autouse=True)
def quick() -> Iterator[None]:
    """Nothing waits for the disk, no picture is drawn, and statsmodels collects no garbage in each of its tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda file: None)
        patch.setattr("gc.collect", lambda generation=2: 0)
        patch.setattr(Figure, "savefig", lambda figure, path, **options: Path(path).write_bytes(b"a picture"))
        patch.setattr(sys, "argv", sys.argv)
        yield


@pytest.fixture(scope="session")
def bases(quick: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    """The undisturbed folders, one for each kind of sweep."""
    found = {}
    for name, commands in SWEEPS.items():
        found[name] = base = Base(name, tmp_path_factory.mktemp(name))
        with working_in(base.home):
            for command in commands.values():
                ended = run(*command.split())
                assert (ended.code, ended.wrong) == (0, ""), ended
            for path, text in (("notes.txt", "kept"), ("states/mine.txt", "mine"), ("trials/mine.csv", "mine")):
                (Path("results") / path).write_text(text)
            for part in commands:
                endings = opened(part)
                assert all((ended.code, ended.wrong) == (0, "") for _, ended, _ in endings), endings
                base.seen[part] = [result for _, _, result in endings]
    return found


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def case(base: Base, part: str, home: Path, damage: Callable[[], object], forged: bool = False) -> Iterator[str]:
    """Damage a copy of a folder, give all commands on it, and say what was wrong with how they ended.

    `part` is the folder within it that is damaged. `forged`: the damage hides itself from checksums, and may be any
    other sweep's truth: then other tables are no fault.
    """
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(base.home / "results", home / "results")
    (home / "outside" / "folder" / "states").mkdir(parents=True)
    (home / "evil").mkdir()
    for path in ("outside/file.txt", "outside/folder/mine.txt", "outside/folder/0.parquet", "outside/folder/states/a"):
        (home / path).write_text("the user's")
    for path in ("evil/__init__.py", "evil/sub.py"):
        (home / path).write_text("from pathlib import Path\nPath('outside/imported').write_text('by evil')\n")
    results = home / "results"
    with working_in(home):
        whole = contents(results)
        damage()
        intact = {path: content for path, content in contents(results).items() if whole.get(path) == content}
        kept = [
            content
            for path, content in intact.items()
            if Path(path).parent.name in ("trials", "states") or path.endswith(".txt")
        ]
        outside = left(home / "outside")

        def harm(ended: Ended) -> Iterator[str]:
            if ended.wrong:
                yield ended.wrong
            elif "Traceback" in ended.err:
                yield f"traceback: {ended.err[-300:]}"
            if left(home / "outside") != outside:
                yield f"changed outside: {left(home / 'outside').keys() ^ outside.keys() or 'content'}"
            if strange := {path.name for path in home.iterdir()} - {"results", "outside", "evil"}:
                yield f"made {strange}"
            if any(name.partition(".")[0] == "evil" for name in sys.modules):
                yield "imported evil"
            if lost := set(kept) - set(contents(results).values()):
                yield f"lost {[path for path, content in intact.items() if content in lost]}"
            lines = [line for line in ended.err.splitlines() if line.startswith("scyc-sweep: ")]
            if ended.code and not ended.wrong and (ended.code not in (1, 2) or len(lines) != 1):
                yield f"ends with {ended.code} and {ended.err[-300:]!r}"

        for (how, ended, result), right in zip(opened(part), base.seen[part], strict=True):
            if how == "load" and ended.code:
                ended.err = f"scyc-sweep: {ended.err}"
            yield from (f"{how}: {what}" for what in harm(ended))
            if ended.code and ended.err.count("\n") != 1:
                yield f"{how}: no single line, but {ended.err[-300:]!r}"
            if not (ended.wrong or ended.code or forged or equal(result, right)):
                yield f"{how}: another table, without a word"
        ended = run(*SWEEPS[base.name][part].split())
        yield from (f"again: {what}" for what in harm(ended))
        if ended.code or ended.wrong or forged:
            return
        for (how, ended, result), right in zip(opened(part), base.seen[part], strict=True):
            if ended.wrong or ended.code:
                yield f"after again, {how}: {ended.wrong or ended.err}"
            elif how == "load" and not equal(result, right):
                yield f"after again, {how}: another table"
        missing = {path for path in whole if "trials/cycle" not in path} - contents(results).keys()
        if missing:
            yield f"after again: without {sorted(missing)}"


def equal(ours: Any, theirs: Any) -> bool:
    """Whether what a command gave is what it should have given."""
    return same(ours, theirs) if isinstance(theirs, dict) else bool(ours == theirs)


def check(home: Path, cases: Iterator[tuple[str, Base, str, Callable[[], object], bool]]) -> None:
    """Fail if a case has anything wrong, with all of it."""
    number, wrong = 0, []
    for number, (name, base, part, damage, forged) in enumerate(cases, 1):
        found = list(case(base, part, home, damage, forged))
        if found:
            wrong.append("\n    ".join([f"{base.name}, {name}:", *found]))
    shutil.rmtree(home, ignore_errors=True)
    assert number > 20, number
    assert not wrong, f"{len(wrong)} of {number} cases\n" + "\n".join(wrong)


# Damage to files


def flip(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[int(share * (len(content) - 1))] ^= 0xFF
    path.write_bytes(content)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def instead(path: Path, put: Callable[[Path], object]) -> None:
    """Have something else in the place of a file or folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    put(path)


def moved(path: Path) -> None:
    """Have a link to itself, which lies outside."""
    target = Path("outside", "moved").absolute()
    if path.exists():
        path.rename(target)
        path.symlink_to(target)


def folder_of_the_user(path: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_text("in a folder of the user's")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


INSTEAD: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": folder_of_the_user,
    "a file": lambda path: path.write_text("a file of the user's"),
    "a link to a file": lambda path: path.symlink_to(Path("outside", "file.txt").absolute()),
    "a link to a folder": lambda path: path.symlink_to(Path("outside", "folder").absolute()),
    "a link to nothing": lambda path: path.symlink_to(Path("outside", "nothing").absolute()),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a FIFO": lambda path: os.mkfifo(path),
    "a terabyte": huge,
    "empty": lambda path: path.touch(),
}
DAMAGE: dict[str, Callable[[Path], object]] = {
    **{f"cut at {share}": lambda path, share=share: cut(path, share) for share in (0.05, 0.5, 0.99)},
    **{f"flipped at {share}": lambda path, share=share: flip(path, share) for share in (0, 0.3, 0.6, 1)},
    **{name: lambda path, put=put: instead(path, put) for name, put in INSTEAD.items()},
    "moved outside": moved,
    **({} if os.geteuid() == 0 else {"unreadable": lambda path: path.chmod(0)}),
}


def damaged_files(base: Base) -> Iterator[tuple[str, Base, str, Callable[[], object], bool]]:
    """Every damage to every file and folder; of rows' files and states, of which there are many, in turn."""
    folder = base.home / "results"
    for part in SWEEPS[base.name]:
        here = folder / part
        found = [path for path in sorted(here.iterdir()) if path.suffix != ".txt"]
        many = {name: sorted((here / name).glob(f"*.{kind}")) for name, kind in KINDS.items() if (here / name).is_dir()}
        places = [*found, here / ".driver.json", *(here / f"{path.name}.lock" for path in found if path.suffix == ".log")]
        for turn, (name, harm) in enumerate(DAMAGE.items()):
            for path in [*places, *(paths[turn % len(paths)] for paths in many.values())]:
                if path.name in ("controls", "trained") and part == "" and turn % 3:
                    continue
                if name.startswith(("cut", "flipped", "unreadable")) and not path.is_file():
                    continue
                within = path.relative_to(folder)
                yield f"{within} {name}", base, part, lambda harm=harm, within=within: harm(Path("results", within)), False


KINDS = {"trials": "parquet", "states": "safetensors"}


# Damage to the manifest

DEEP = "the deep one"
VALUES: dict[str, Callable[[Any], Any]] = {
    "null": lambda value: None,
    "of another type": lambda value: {"a": 1} if not isinstance(value, dict) else [1],
    "negative": lambda value: -1,
    "absurdly large": lambda value: 10**12,
    "not a number": lambda value: float("nan"),
    "infinite": lambda value: float("inf"),
    "a text": lambda value: "../outside/file.txt\n[/x]",
    "a user's function": lambda value: "evil.sub:f",
    "empty": lambda value: [],
    "nested": lambda value: DEEP,
}


def keys(value: object, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """All keys of a manifest, those within others too."""
    if isinstance(value, dict):
        for key in value:
            yield (*above, key)
            yield from keys(value[key], (*above, key))
    elif isinstance(value, list) and value:
        yield (*above, 0)
        yield from keys(value[0], (*above, 0))


def edit(path: Path, key: tuple[str | int, ...], change: Callable[[Any], Any] | None, forged: bool) -> None:
    """Change one key of a manifest, or take it away; `forged`: with a digest that fits."""
    manifest = json.loads(path.read_text())
    inner = manifest
    for step in key[:-1]:
        inner = inner[step]
    if change is None:
        del inner[key[-1]]
    else:
        inner[key[-1]] = change(inner[key[-1]])
    deep = "[" * 100_000 + "]" * 100_000
    path.write_text(json.dumps(manifest, indent=2).replace(json.dumps(DEEP), deep))


def damaged_manifests(base: Base) -> Iterator[tuple[str, Base, str, Callable[[], object], bool]]:
    """Every key with every wrong value."""
    part = "trained" if base.name == "oracle" else ""
    path = Path("results", part, "manifest.json")
    manifest = json.loads((base.home / path).read_text())
    for number, key in enumerate(keys(manifest)):
        for turn, (name, change) in enumerate({"missing": None, **VALUES}.items()):
            if (number + turn) % 3 != list(SWEEPS).index(base.name) and key[0] != "plans":
                continue
            forged = True
            yield f"{key} {name}", base, part, lambda key=key, change=change, f=forged: edit(path, key, change, f), forged


# Damage to rows


def rewrite(path: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.read_table(path)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), path)


def column_with(name: str, kind: pa.DataType | None, value: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        index, column = table.schema.get_field_index(name), table[name]
        values = [value(each) for each in column.to_pylist()]
        return table.set_column(index, name, pa.array(values, kind or column.type))

    return change


def column_damages(name: str, kind: pa.DataType, other: list[Any]) -> dict[str, Callable[[pa.Table], pa.Table]]:
    """What can be wrong with a column."""
    nested = pa.types.is_list(kind)
    item = kind.value_type if nested else kind

    def each(value: object) -> Callable[[Any], Any]:
        return lambda old: [value] * max(1, len(old or [])) if nested else value

    strange: dict[str, Any] = {"null": None}
    if pa.types.is_string(item):
        strange |= {"empty": "", "a path": "../../../outside/file.txt", "long": "x" * 10**6, "a user's": "evil.sub:f"}
    elif pa.types.is_timestamp(item):
        strange |= {"negative": -(2**62), "out of range": 2**62}
    elif pa.types.is_floating(item):
        strange |= {"not a number": float("nan"), "negative": -1.0, "out of range": 1e300, "infinite": float("inf")}
    else:
        bound = 2 ** (item.bit_width - 1)
        strange |= {"negative": -1, "out of range": bound - 1, "the lowest": -bound}
    wrong = pa.string() if not pa.types.is_string(item) else pa.float64()
    return {
        "missing": lambda table: table.drop_columns([name]),
        "of another type": column_with(name, wrong, lambda old: "a text" if wrong == pa.string() else 1.5),
        "nested": column_with(name, pa.list_(pa.list_(pa.int64())), lambda old: [[1]]),
        "another row's": column_with(name, kind, lambda old: other[0]),
        **{sort: column_with(name, kind, each(value)) for sort, value in strange.items()},
    }


def damaged_rows(base: Base) -> Iterator[tuple[str, Base, str, Callable[[], object], bool]]:
    """Every column with every wrong value, in turn in this file of rows and that."""
    paths = sorted((base.home / "results" / "trials").glob("*.parquet"))
    rows = [tables.read_rows("trials", path) for path in paths]
    for number, (name, kind, *_) in enumerate(tables.TRIALS):
        own = rows[number % len(rows)]
        other = [row[name] for each in rows for row in each if row[name] != own[0][name]] or [own[0][name]]
        within = paths[number % len(rows)].relative_to(base.home)
        for turn, (sort, change) in enumerate(column_damages(name, kind, other).items()):
            if (number + turn) % 3 == list(SWEEPS).index(base.name):
                yield f"{name} {sort}", base, "", lambda w=within, n=name, c=change: rewrite(w, n, c), False


@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize("damaged", [damaged_files, damaged_manifests, damaged_rows])
def test_a_damaged_folder_gives_the_right_tables_or_one_line_and_harms_nothing(
    bases: dict[str, Base],
    tmp_path: Path,
    name: str,
    damaged: Callable[[Base], Iterator[tuple[str, Base, str, Callable[[], object], bool]]],
) -> None:
    check(tmp_path / "case", damaged(bases[name]))
