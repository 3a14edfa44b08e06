"""A page to show. In: results folders. Out: one HTML file with everything in it: no script, nothing from elsewhere.

The tables are those that are printed (`sweep.reporting.views`), the pictures those of `sweep.reporting.plots`.
"""

import base64
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
from rich.console import RenderableType

from sweep.errors import FolderError
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.registry import load
from sweep.experiments.results import Results
from sweep.experiments.schedules.results import SchedulesResults
from sweep.experiments.tuning.results import TuningResults
from sweep.experiments.validation.results import ValidationResults
from sweep.reporting import plots
from sweep.reporting.formats import Cells, parts_of
from sweep.reporting.live import duration
from sweep.reporting.screen import progress_line, rescored_table, title_of
from sweep.reporting.screen_evidence import (
    controls_answer,
    region_answer,
    rise_answer,
    scyc_answer,
    trend_table,
    verdicts_table,
)
from sweep.reporting.views import view_of
from trainables.storage import Location, Replacing, what_is

QUESTION = (
    "Which peak learning rate is best at each pruning cycle, how wide is the range that is as good, and does S-Cyc "
    "predict it?"
)
WIDTH = 150
"""Characters that a table may be wide: what a large screen holds, and small print."""


@dataclass(frozen=True)
class Picture:
    """A picture within the page."""

    alt: str
    data: str
    """SVG, in base64."""


@dataclass(frozen=True)
class Block:
    """A heading with what stands below it."""

    heading: str
    parts: Sequence[Cells | str] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Section:
    """One results folder."""

    title: str
    folder: str
    answer: Sequence[str]
    blocks: Sequence[Block]
    cost: Cells
    commands: Sequence[str]
    settings: Sequence[tuple[str, str]]
    notes: Sequence[str] = field(default_factory=list)


def write_report(folders: Sequence[Location | str], path: Path) -> None:
    """Write the page of results folders. Raises FolderError for a folder without results, or a file not to be written.

    Several stand side by side, in the order given.
    """
    if path.exists() and not path.is_file():
        raise FolderError(f"{path} is {what_is(path.stat().st_mode)}: give a file")
    sections = [_section(results) for results in [load(folder) for folder in folders]]
    template = resources.files("sweep.reporting").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    # Cells have rows, lines have not: the template asks which it has.
    page = environment.from_string(template).render(
        title=f"scyc-sweep: {'; '.join(section.title for section in sections)}",
        question=QUESTION,
        sections=sections,
        version=metadata.version("scyc-sweep"),
        folders=", ".join(map(str, folders)),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Replacing(path.resolve()) as partial:  # a link that the user names stays, and leads to the page
            partial.write_text(page, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise FolderError(f"{path} cannot be written: {error}") from error


def _section(results: Results) -> Section:
    if isinstance(results, ValidationResults):
        raise FolderError(f"{results.folder.path} is part of an oracle: give the folder of that")
    if isinstance(results, OracleResults):
        answer, blocks = _oracle(results)
    elif isinstance(results, TuningResults):
        answer, blocks = _tuning(results)
    else:
        answer, blocks = _schedules(results)
    if not results.finished:
        answer = [*answer, progress_line(results.progress)]
    parts: list[Results] = [results]
    if isinstance(results, OracleResults):
        parts += [*results.controls.values(), *_trained(results).values()]
    manifest = results.manifest
    settings = results.settings.model_dump(mode="json")
    machine = manifest["hardware"]
    said = [(name, _text(value)) for name, value in settings.items() if value is not None]
    said += [(f"version of {name}", _text(value)) for name, value in manifest["versions"].items()]
    said += [
        ("git commit", _text(manifest["git_commit"])),
        ("machine", f"{machine['cores']} cores of {machine['cpu']}, {_text(machine['gpus']) or 'no GPU'}"),
        ("threads of a worker", _text(manifest["threads"])),
        ("lanes per pack", _text(manifest["lanes_per_pack"])),
        ("data fingerprint", manifest["identity"]["data"]),
        ("begun", _text(manifest["started_at"])),
        ("finished", _text(manifest["finished_at"]) or "not yet"),
        ("earlier sessions", str(len(manifest["earlier_sessions"]))),
    ]
    return Section(
        title=title_of(results),
        folder=str(results.folder.path),
        answer=answer,
        blocks=blocks,
        cost=_cost(parts),
        commands=list(dict.fromkeys(_command(part) for part in parts)),
        settings=said,
        notes=[
            f"bit for bit with the same versions, --lanes {manifest['lanes_per_pack']} and a machine of the same kind; "
            "in packs of another size single lanes may differ in their last bits"
        ],
    )


def _oracle(results: OracleResults) -> tuple[list[str], list[Block]]:
    if results.oracle.empty:
        return ["No cycle is decided yet."], []
    comparison = results.compared
    title = title_of(results)
    pictures = _picture(
        lambda path: plots.trajectory(results, comparison, path), "max_lr and its region by percent remaining"
    )
    pictures += _picture(lambda path: plots.shortfalls(results, path), "how far each max_lr falls short of the best")
    blocks = [Block("The oracle", _parts(view_of(results, None, WIDTH).table, title), pictures)]
    trend = _picture(lambda path: plots.controls(results, path), "max_lr by percent remaining, oracle and controls")
    blocks.append(Block("Does max_lr rise, and why?", _parts(trend_table(results), title), trend))
    trained = _trained(results)
    if trained:
        tables = [part for each in trained.values() for part in parts_of(verdicts_table(each))]
        drawn = {name: each for name, each in trained.items() if not each.verdicts.empty}
        gaps = []
        if drawn:
            gaps = _picture(
                lambda path: plots.gaps(drawn, path), "gap between the oracle and S-Cyc by percent remaining"
            )
        blocks.append(Block("S-Cyc, trained", tables, gaps))
    blocks.append(Block("How much hangs on the rules", _parts(rescored_table(results), title)))
    return [region_answer(results), rise_answer(results), *controls_answer(results), *scyc_answer(results)], blocks


def _tuning(results: TuningResults) -> tuple[list[str], list[Block]]:
    pictures = _picture(
        lambda path: plots.tuning(results, results.oracle, path),
        "trials, importances of parameters, and the tuned curve",
    )
    parts = _parts(view_of(results, None, WIDTH).table, title_of(results))
    answer = [part for part in parts if isinstance(part, str) and part.startswith("tuned:")]
    return answer or ["No trial of the last stage is complete yet."], [Block("", parts, pictures)]


def _schedules(results: SchedulesResults) -> tuple[list[str], list[Block]]:
    table = results.schedules
    pictures = _picture(lambda path: plots.schedules(results, path), "test accuracy by schedule and percent remaining")
    parts = _parts(view_of(results, None, WIDTH).table, title_of(results))
    if table.empty:
        return ["No schedule has finished a cycle yet."], [Block("", parts, pictures)]
    counts = table[table["best"]]["schedule"].value_counts()
    best = ", ".join(f"{name} in {count}" for name, count in counts.items())
    sure = "; one run says nothing of how sure that is" if results.settings.runs < 2 else ""
    answer = [f"Best mean test accuracy: {best or 'none'} of {table['cycle'].nunique()} cycles{sure}."]
    answer += [
        part
        for part in parts
        if isinstance(part, str) and any(part.startswith(f"{name} ") for name in results.settings.curves)
    ]
    return answer, [Block("", parts, pictures)]


def _trained(results: OracleResults) -> dict[str, ValidationResults]:
    found = {"the oracle's runs": results.folder.validation, "held-out runs": results.folder.held_out_validation}
    return {name: ValidationResults(path) for name, path in found.items() if (path / "manifest.json").exists()}


def _parts(table: RenderableType, title: str) -> list[Cells | str]:
    """Return what a printed view is made of, without the title that the page has above it."""
    return [
        replace(part, title="") if isinstance(part, Cells) and part.title == title else part
        for part in parts_of(table)
        if part != title
    ]


def _picture(draw: Callable[[Path], None], alt: str) -> list[Picture]:
    """Return what is drawn, if anything is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.svg"
        draw(path)
        return [Picture(alt, base64.b64encode(path.read_bytes()).decode())] if path.exists() else []


def _cost(parts: Sequence[Results]) -> Cells:
    """Return what was trained: lanes, steps, time on devices."""
    rows = []
    for part in parts:
        trials = part.lanes
        name = {OracleResults: "oracle", TuningResults: "tuning", SchedulesResults: "schedules"}.get(type(part), "")
        if part is not parts[0]:
            name = (
                f"control: {part.settings.pruning}"
                if isinstance(part, OracleResults)
                else f"compare: {part.folder.path.name}"
            )
        seconds = float(trials["wall_seconds"].sum())
        rows.append(
            [
                name,
                f"{len(trials):,}",
                str(int((trials["status"] == "diverged").sum())),
                f"{int(trials['steps'].sum()):,}",
                duration(seconds),
                f"{seconds / 3600:.2f}",
                ", ".join(sorted(trials["device"].unique())),
            ]
        )
    headings = ["part", "lanes", "diverged", "steps", "time", "device hours", "device"]
    return Cells("", headings, rows, ["left", "right", "right", "right", "right", "right", "left"])


def _command(results: Results) -> str:
    return results.manifest["command"] or f"built from Python, by the settings of {results.folder.path}/manifest.json"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
