"""Results folders as a failing disk, a careless hand or an attacker leaves them: one damage at a time.

Every file, every key of the manifest and every column of the rows is damaged in every way. What must hold then is in
`conftest.py`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweep.store.lanes import LANES

KINDS = ("schedules", "tune", "oracle")
OF_A_VALIDATION = ("oracle", "held_out", "choices", "trajectories")
"""Settings that no other kind of sweep has."""
Cases = Iterator[tuple[Any, ...]]


# Files


def cut(share: float, path: Path) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip(share: float, path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in [int(share * (len(content) - 1))] if content else ():
        content[at] ^= 0xFF
    path.write_bytes(content)


def swap(path: Path) -> None:
    """Give a file the content of one beside it."""
    beside = sorted(other for other in path.parent.glob(f"*{path.suffix}") if other.is_file())
    others = [other for other in beside if other != path]
    path.write_bytes(others[0].read_bytes() if others else b"{}")


def move_out(path: Path) -> None:
    """Have a link to where the file or folder now lies."""
    path.rename(target := Path("outside", "moved").absolute())
    path.symlink_to(target)


def instead(put: Callable[[Path], object], path: Path) -> None:
    """Have something else in the place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path)


def link(target: str) -> Callable[[Path], None]:
    return partial(instead, lambda path: path.symlink_to(Path("outside", target).absolute()))


def folder(path: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_text("in a folder of the user's")


def terabyte(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


CONTENT = {
    "cut": [partial(cut, 0.5), partial(cut, 0.04), partial(cut, 0.99)],
    "flipped": [partial(flip, 0.5), partial(flip, 0), partial(flip, 0.2), partial(flip, 1)],
    "swapped": [swap],
    "unreadable": [] if os.geteuid() == 0 else [lambda path: path.chmod(0)],
}
"""What may be wrong with a file."""
PLACE = {
    "missing": [partial(instead, lambda path: None)],
    "empty": [partial(instead, Path.touch)],
    "a folder": [partial(instead, folder), partial(instead, Path.mkdir)],
    "a FIFO": [partial(instead, os.mkfifo)],
    "a terabyte": [partial(instead, terabyte)],
    "a link": [link("file.txt"), link("folder"), link("nothing"), link("/dev/zero"), link("folder/states")],
}
"""What may lie in the place of a file or folder, or where there should be nothing."""
TOGETHER = {*CONTENT, "missing", "empty", "a terabyte"}
"""Damage that no command refuses where it is to tables and pictures, which can be made again: to all at once."""
ABSENT = (
    ".driver.json",
    "superseded",
    "validation-held-out",
    "optuna-journal.log.lock",
    "lanes/cycle99-run00-0123456789abcdef.parquet",
    f"states/{'0' * 64}.safetensors",
)


def damaged_files(base: Any) -> Cases:
    """Every sort of damage to every file and folder, and to what decides in several ways.

    Of rows' files and states, of which there are many, each sort is done to another one.
    """
    for part in base.gave:
        here = base.home / "results" / part
        rows, states = sorted((here / "lanes").glob("*.parquet")), sorted((here / "states").glob("*.safetensors"))
        made = [path for path in sorted(here.iterdir()) if path.suffix in (".parquet", ".png", ".toml", ".log", "")]
        made = [path for path in made if path.is_file()]
        whole = [here / "manifest.json", *(path for path in sorted(here.iterdir()) if path.is_dir())]
        for turn, (sort, ways) in enumerate((CONTENT | PLACE | {"moved": [move_out]}).items()):
            if part == "controls/random" and turn % 3:  # it is an oracle as the one around it
                continue
            extra = [here / name for name in ABSENT] if sort in PLACE and sort not in TOGETHER else []
            many = [rows[turn % len(rows)], states[turn % len(states)]]
            single = [*extra, *(made if sort not in TOGETHER else ())]
            groups = [[path] for path in [*whole, *many, *(single[turn % 6 :: 6] if part else single)]]
            groups += [made] if sort in TOGETHER else []
            for number, group in enumerate(groups):
                if (sort in CONTENT and group[0].is_dir()) or not ways:
                    continue
                for way in ways if group[0] in [*whole, *many] and not part else [ways[number % len(ways)]]:
                    within = [path.relative_to(base.home) for path in group]
                    names = {path.name for path in group if sort in ("missing", "a folder")}
                    # As if that had not been run: by another command, or by this one, which makes it again.
                    another = bool(names & {"controls", "validation"})
                    fewer = bool(names & {"comparison.parquet", "manifest.json" if part else ""})
                    yield f"{within[-1]} {sort} {ways.index(way)}", partial(done, way, within), part, another, fewer


def done(way: Callable[[Path], object], paths: list[Path]) -> None:
    for path in paths:
        way(path)


# The manifest

DEEP = "nested so deep that no stack holds it"
VALUES: dict[str, list[Any]] = {
    "missing": [],
    "null": [None],
    "of another type": [{"a": 1}, [], "../outside/file.txt\n[/x]", True, [[1]], 0.5],
    "out of range": [-1, 0],
    "absurdly large": [10**12, 10**40],
    "not a number": [float("nan"), float("inf")],
    "a user's function": ["evil.sub:f"],
    "nested": [DEEP],
}
"""What may be wrong with a key; where there are several values they take turns."""


def keys(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All keys of a manifest, and those within others."""
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*above, key)
        yield from keys(each, (*above, key))


def edit(path: Path, key: tuple[Any, ...], values: list[Any], forged: bool) -> None:
    """Give a key of a manifest another value, or none where there is none in `values`."""
    content = inner = json.loads(path.read_text())
    for step in key[:-1]:
        inner = inner[step]
    if values:
        inner[key[-1]] = values[0]
    else:
        del inner[key[-1]]
    if forged:
        rest = {name: value for name, value in content.items() if name != "digest"}
        content["digest"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(content, indent=2).replace(json.dumps(DEEP), "[" * 10**5 + "]" * 10**5))


def damaged_manifests(base: Any) -> Cases:
    """Every key missing, or with a wrong value; what several kinds of sweeps have is damaged in turn in each."""
    part = "validation" if base.name == "oracle" else ""
    path = Path("results", part, "manifest.json")
    for number, key in enumerate(keys(json.loads((base.home / path).read_text()))):
        for turn, (sort, values) in enumerate(VALUES.items()):
            shared = not part and (number + turn) % 2 == KINDS.index(base.name)
            told = key[0] in ("versions", "identity") and (turn // 2 + number) % 2  # many keys that are only told
            own = part and key[0] == "settings" and key[-1] != "settings" and key[1] in OF_A_VALIDATION
            if own or (shared and not told):
                value = values[number % len(values)] if values else None
                forged = number % len(VALUES) != turn
                damage = partial(edit, path, key, [value][: len(values)], forged)
                yield f"{'.'.join(map(str, key))} {sort}{' and forged' * forged}", damage, part, forged


# Rows


def rewrite(path: Path, name: str, kind: pa.DataType, value: Callable[[Any], Any] | None, forged: bool) -> None:
    """Write a file of rows anew with other values in a column, or without it."""
    table = pq.read_table(path)
    at = table.schema.get_field_index(name)
    changed = table.remove_column(at)
    if value is not None:
        field = table.schema.field(name).with_type(kind)
        changed = changed.add_column(at, field, pa.array([value(old) for old in table[name].to_pylist()], kind))
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    if forged:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        path.rename(path.with_name(f"{path.stem[:-16]}{digest}.parquet"))


def strange_values(kind: pa.DataType) -> dict[str, Any]:
    """Values that a type can have and a column should not."""
    if pa.types.is_string(kind):
        return {"empty": "", "a path": "../../../outside/file.txt", "long": "x" * 10**6, "a user's": "evil.sub:f"}
    if pa.types.is_floating(kind):
        return {"not a number": float("nan"), "negative": -1.0, "out of range": 1e300, "infinite": float("inf")}
    bits = kind.bit_width - 1 - pa.types.is_timestamp(kind)
    return {"negative": -1, "out of range": 2**bits - 1, "the lowest": -(2**bits)}


def filled(value: Any, old: list[Any] | None) -> list[Any]:
    return [value] * max(1, len(old or ()))


def damaged_rows(base: Any) -> Cases:
    """Every column missing, or with wrong values, in turn in each kind of sweep and in this file of rows and that."""
    paths = sorted((base.home / "results" / "lanes").glob("*.parquet"))
    rows = [pq.read_table(path).to_pylist() for path in paths]
    for number, (name, kind, *_) in enumerate(LANES.columns):
        many = pa.types.is_list(kind)
        own = rows[number % len(rows)][0][name]
        other = [row[name] for each in rows for row in each if row[name] != own] or [own]
        text = pa.types.is_string(kind)
        sorts: dict[str, tuple[pa.DataType, Callable[[Any], Any] | None]] = {
            "missing": (kind, None),
            "of another type": (pa.float64(), lambda old: 1.5) if text else (pa.string(), lambda old: "text"),
            "nested": (pa.list_(pa.list_(pa.int64())), lambda old: [[1]]),
            "another row's": (kind, lambda old, other=other: other[0]),
            "null": (kind, lambda old: None),
        }
        for sort, value in strange_values(kind.value_type if many else kind).items():
            sorts[sort] = (kind, partial(filled, value) if many else lambda old, value=value: value)
        within = paths[number % len(paths)].relative_to(base.home)
        for turn, (sort, (new, value)) in enumerate(sorts.items()):
            if KINDS[(number + turn) % 5 // 2] == base.name:
                forged = turn != number % 5
                damage = partial(rewrite, within, name, new, value, forged)
                yield f"{name} {sort}{' and forged' * forged}", damage, "", forged


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damaged", [damaged_files, damaged_manifests, damaged_rows])
def test_a_damaged_folder_gives_the_right_tables_or_one_line_and_harms_nothing(
    bases: dict[str, Any], tmp_path: Path, damaged: Callable[[Any], Cases], kind: str
) -> None:
    bases[kind].check(damaged(bases[kind]), tmp_path / "case", damaged is damaged_rows)
