"""A page of results folders. In: folders. Out: one HTML file.

What a section shows are the answers, views and figures of its experiment, and the first view of each related folder of
another kind: an oracle's validations. Next: `sweep.reporting.html` renders it.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.errors import FolderError
from sweep.experiments.registry import experiment, load
from sweep.reporting.html import Picture, Section, page
from sweep.reporting.numbers import duration
from sweep.reporting.views import Cell, Column, Table, View, listing
from sweep.reporting.wording import unfinished
from trainables.storage import Location, Replacing, what_is

if TYPE_CHECKING:
    from sweep.experiments.results import Results

QUESTION = (
    "Which peak learning rate is best at each pruning cycle, how wide is the range that is as good, and does S-Cyc "
    "predict it?"
)


def write_report(folders: Sequence[Location | str], path: Path) -> None:
    """Write a page of results folders, side by side where there are several.

    Raises FolderError if a folder holds no sweep or is part of another, or the page cannot be written.
    """
    if path.exists() and not path.is_file():
        raise FolderError(f"{path} is {what_is(path.stat().st_mode)}: give a file")
    text = page(QUESTION, [section(results) for results in [load(folder) for folder in folders]])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Replacing(path.resolve()) as partial:  # a link that the user names stays, and leads to the page
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise FolderError(f"{path} cannot be written: {error}") from error


def section(results: "Results") -> Section:
    """Return what a page shows of a results folder. Raises FolderError for one that is part of another."""
    if results.kind == "compare":
        raise FolderError(f"{results.folder.path} is part of an oracle: give the oracle's folder")
    of, related = experiment(results.kind), results.related
    answers = list(of.answers(results))
    if not results.finished:
        answers.append(unfinished(results.progress))
    own = [view(results) for view in of.views.values()]
    shown = [(view, _pictures(view, results)) for view in own if not view.data.empty]
    for other in related.values():
        if other.kind != results.kind:
            view = next(iter(experiment(other.kind).views.values()))(other)
            shown.append((view, _pictures(view, other)))
    lanes = results.manifest["lanes_per_pack"]
    return Section(
        title=own[0].title,
        folder=str(results.folder.path),
        answers=answers,
        views=shown,
        cost=_cost({of.name: results, **related}),
        commands=list(dict.fromkeys(map(_command, (results, *related.values())))),
        settings=listing(_settings(results)),
        notes=[
            "a repetition gives the same bits with the same versions on a machine of the same kind and with --lanes "
            f"{lanes}; in packs of another size the last bits of single lanes may differ"
        ],
    )


def _pictures(view: View, results: "Results") -> list[Picture]:
    """Return the figures that belong to a view, as far as there is anything to draw."""
    draw, found = experiment(results.kind).figures, []
    with tempfile.TemporaryDirectory() as folder:
        for name in view.figures:
            path = Path(folder) / f"{name}.svg"
            draw[name](results, path)
            if path.exists():
                found.append(Picture(f"{view.heading} ({name})", path.read_bytes()))
    return found


def _cost(parts: Mapping[str, "Results"]) -> Table:
    """Return what was trained, by the name of each part: lanes, steps, time on devices."""
    columns = [
        Column("part", align="left"),
        Column("lanes"),
        Column("diverged"),
        Column("steps"),
        Column("time of all workers"),
        Column("device hours"),
        Column("device", align="left"),
    ]
    rows = []
    for name, part in parts.items():
        lanes = part.lanes
        diverged, steps = int((lanes["status"] == "diverged").sum()), int(lanes["steps"].sum())
        seconds, devices = float(lanes["wall_seconds"].sum()), ", ".join(sorted(filter(None, lanes["device"].unique())))
        rows.append(
            [
                Cell(name, name),
                Cell(f"{len(lanes):,}", len(lanes)),
                Cell(str(diverged), diverged),
                Cell(f"{steps:,}", steps),
                Cell(duration(seconds), seconds),
                Cell(f"{seconds / 3600:.2f}", seconds / 3600),
                Cell(devices, devices),
            ]
        )
    return Table(columns, rows)


def _settings(results: "Results") -> list[tuple[str, str]]:
    """Return all settings, versions and the machine, by name."""
    manifest = results.manifest
    machine = manifest["hardware"]
    return [
        *(
            (name, _text(value))
            for name, value in results.settings.model_dump(mode="json").items()
            if value is not None
        ),
        *((f"version of {name}", _text(value)) for name, value in manifest["versions"].items()),
        ("git commit", _text(manifest["git_commit"])),
        ("machine", f"{machine['cores']} cores of {machine['cpu']}, {_text(machine['gpus']) or 'no GPU'}"),
        ("threads of a worker", _text(manifest["threads"])),
        ("lanes per pack", _text(manifest["lanes_per_pack"])),
        ("data fingerprint", manifest["identity"]["data"]),
        ("begun", _text(manifest["started_at"])),
        ("finished", _text(manifest["finished_at"]) or "not yet"),
        ("earlier sessions", str(len(manifest["earlier_sessions"]))),
    ]


def _command(results: "Results") -> str:
    command: str = results.manifest["command"]
    return command or f"started from Python, with the settings in {results.folder.path}/manifest.json"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
