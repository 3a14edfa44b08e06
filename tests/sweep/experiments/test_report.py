"""The page of `scyc-sweep report`: what it says and holds, and what a real browser makes of it."""

import base64
import html
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import sweep
from sweep.config import named_scyc as trajectories
from sweep.config.resolve import resolve
from sweep.experiments.oracle.experiment import EXPERIMENT, write_comparison
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.registry import experiment
from sweep.experiments.report import write_report
from sweep.experiments.runner import run
from sweep.reporting.views import Table
from sweep.store.folder import Folder
from sweep.strategies.progress import Progress

Run = Callable[..., subprocess.CompletedProcess[str]]
Browse = Callable[..., bytes]
Measured = dict[str, Any]

SMALL: dict[str, Any] = {
    "max_lr": "0.02:0.5:x5",
    "cycles": 3,
    "runs": 3,
    "steps": 68,
    "lanes": 5,
    "scyc": "0.05,0.05,1,4",
    "engine": "inline",
}
LESS: dict[str, Any] = SMALL | {"cycles": 2, "steps": 34}
QUIET: dict[str, Any] = {"progress": False}
ODD = f"<b>x</b>&{'long' * 20}"
"""Two folders, one in the other, whose names are a tag and a broken entity, and longer than a phone is wide."""
PHONE, SCREEN, PAPER = 390, 1600, 718
"""Widths in CSS pixels; that of paper is A4's within the browser's margins, narrower than Letter's."""
SMALLEST = 12
"""CSS pixels of a letter that is read without a lens."""
MEASURE = """
const found = {};
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, body = page.documentElement;
  const own = each => [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  const box = each => each.getBoundingClientRect().toJSON();
  const all = name => [...page.querySelectorAll(name)];
  const letters = each => parseFloat(frame.contentWindow.getComputedStyle(each).fontSize);
  found[frame.id] = {
    width: body.clientWidth,
    scrolls: body.scrollWidth,
    letters: Math.min(...all("body *").filter(own).map(letters)),
    answers: all(".answer").map(box),
    tables: all("table").map(box),
    pictures: all("img").map(each => ({...box(each), drawn: each.naturalWidth, alt: each.alt})),
  };
}
document.body.textContent = JSON.stringify(found);
"""


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Browse:
    """Open a file in a browser that reaches no other machine, with flags that say what comes of it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"no browser: none of {', '.join(names)} is on the PATH")
    profile = tmp_path_factory.mktemp("chromium")

    def open_(path: Path, *flags: str) -> bytes:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command += [
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=5000",
            *flags,
            path.as_uri(),
        ]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    return open_


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> OracleResults:
    """An oracle with all that belongs to it: a control, its prediction trained, on its runs and on held-out ones."""
    folder = tmp_path_factory.mktemp("report") / ODD
    found = sweep.build_oracle(**SMALL, **QUIET, out=folder)
    sweep.control(folder, ["random"], **QUIET)
    predicted = trajectories.parse([SMALL["scyc"]], "mlp", "digits", own=found.settings.scyc)
    write_comparison(found, predicted | {f"{name}{'long' * 8}/scyc.toml": predicted["S-Cyc"] for name in "abc"})
    for held_out_runs in (None, 2):
        sweep.confirm(folder, predicted, held_out_runs, **QUIET)
    return sweep.load(folder)


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> OracleResults:
    return sweep.build_oracle(**LESS | {"runs": 1}, **QUIET, out=tmp_path_factory.mktemp("report") / "one")


@pytest.fixture(scope="module")
def page(oracle: OracleResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report([oracle.folder.path], path)
    return path


@pytest.fixture(scope="module")
def two(oracle: OracleResults, one_run: OracleResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two folders."""
    path = tmp_path_factory.mktemp("page") / "two.html"
    write_report([oracle.folder.path, one_run.folder.path], path)
    return path


@pytest.fixture(scope="module")
def measured(browse: Browse, page: Path, two: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measured]:
    """What a browser measures of pages in windows of several widths; `paper` has the style of print."""
    one = page.read_text()
    shown = {
        "phone": (one, PHONE),
        "screen": (one, SCREEN),
        "paper": (one.replace("@media print", "@media all"), PAPER),
    }
    shown |= {"two on a phone": (two.read_text(), PHONE), "two on a screen": (two.read_text(), SCREEN)}
    frames = [
        f'<iframe id="{name}" style="width: {width}px; height: 900px; border: 0" srcdoc="{html.escape(text)}"></iframe>'
        for name, (text, width) in shown.items()
    ]
    path = tmp_path_factory.mktemp("measured") / "frames.html"
    path.write_text(f"<!DOCTYPE html>{''.join(frames)}<script>window.onload = () => {{{MEASURE}}}</script>")
    body = re.search("<body>(.*)</body>", browse(path, "--dump-dom").decode(), re.DOTALL)
    assert body
    found: dict[str, Measured] = json.loads(html.unescape(body[1]))
    assert {name: each["width"] for name, each in found.items()} == {name: width for name, (_, width) in shown.items()}
    return found


class Page(HTMLParser):
    """What a page has: its elements, its tables cell by cell, its paragraphs, its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.texts: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("p", "pre", "h1", "h2", "h3", "h4", "title"):
            self.texts.append("")
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in ("td", "th"):
            self.tables[-1][-1][-1] += data
        elif self.inside and self.texts:
            self.texts[-1] += data

    @property
    def answers(self) -> str:
        """All that comes before the first folder's heading."""
        return " ".join(self.texts[: next(i for i, text in enumerate(self.texts) if text.startswith("mlp on"))])


def page_of(folder: Path, tmp_path: Path) -> Page:
    write_report([folder], tmp_path / "page.html")
    return Page((tmp_path / "page.html").read_text())


def tables_of(results: Any) -> list[list[list[str]]]:
    """Every table that the page of a folder has, cell by cell, up to the costs."""
    views = [view(results) for view in experiment(results.kind).views.values()]
    validations = [each for each in results.related.values() if each.kind != results.kind]
    views += [next(iter(experiment(each.kind).views.values()))(each) for each in validations]
    return [
        [[column.title for column in part.columns], *([cell.text.strip() for cell in row] for row in part.rows)]
        for view in views
        for part in view.parts
        if isinstance(part, Table)
    ]


def test_the_file_refers_to_nothing_outside_itself(page: Path) -> None:
    text = page.read_text()
    found = Page(text)
    names = {tag for tag, _ in found.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    for _, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcset", "style")]
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/svg+xml;base64,")
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)
    assert style and "@import" not in style[1] and "url(" not in style[1]


def test_pictures_are_whole_and_draw_nothing_from_elsewhere(page: Path) -> None:
    sources = [attributes["src"] for tag, attributes in Page(page.read_text()).elements if tag == "img"]
    assert len(sources) == 5  # the trajectory, shortfalls, the trend, gaps on the oracle's runs and on held-out seeds
    for source in sources:
        root = xml.etree.ElementTree.fromstring(base64.b64decode(str(source).partition(",")[2], validate=True))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        for element in root.iter():
            for name, value in element.attrib.items():
                assert not name.endswith("href") or value.startswith(("#", "data:")), value
                assert "url(" not in value or "url(#" in value


@pytest.mark.chromium
def test_a_browser_without_a_network_shows_answer_tables_and_settings(
    browse: Browse, page: Path, oracle: OracleResults
) -> None:
    shown = Page(browse(page, "--dump-dom").decode())
    text = " ".join(shown.texts)
    assert "Which peak learning rate is best at each pruning cycle" in text
    assert re.search(r"max_lr .*by a factor of \d\.\d{3} per cycle \(95 % interval", shown.answers)
    assert "Control random (random pruning: the effect of fewer weights" in shown.answers
    assert "S-Cyc, trained on 2 runs with held-out seeds: inside in" in shown.answers
    expected = tables_of(oracle)
    assert len(expected) == 5 and all(len(table) > 4 for table in expected)
    assert [[[cell.strip() for cell in row] for row in table] for table in shown.tables[:5]] == expected
    settings = dict(shown.tables[-1])
    assert (settings["max_lr"], settings["runs"], settings["scyc"]) == ("0.02:0.5:x5", "3", SMALL["scyc"])
    assert settings["data fingerprint"] == oracle.manifest["identity"]["data"]
    assert settings["version of torch"] == oracle.manifest["versions"]["torch"]


def test_cost_counts_all_that_was_trained(page: Path, oracle: OracleResults) -> None:
    headings, *rows = Page(page.read_text()).tables[5]
    assert headings[:4] == ["part", "lanes", "diverged", "steps"]
    parts = [oracle, oracle.controls["random"], oracle.validation, oracle.held_out_validation]
    assert [row[0] for row in rows] == [
        "oracle",
        "control: random",
        "validation on the oracle's runs",
        "validation on held-out seeds",
    ]
    for row, part in zip(rows, parts, strict=True):
        assert row[1].replace(",", "") == str(len(part.lanes))
        assert row[3].replace(",", "") == str(part.lanes["steps"].sum())


@pytest.mark.chromium
def test_on_a_phone_the_page_does_not_scroll_sideways_and_can_be_read(measured: dict[str, Measured]) -> None:
    for name in ("phone", "two on a phone", "screen", "two on a screen"):
        assert measured[name]["scrolls"] == measured[name]["width"], name
        assert measured[name]["letters"] >= SMALLEST, name
    # Tables and pictures are wider, and scroll by themselves.
    assert max(box["right"] for box in measured["phone"]["tables"]) > PHONE


@pytest.mark.chromium
def test_pictures_are_shown_so_large_that_their_letters_can_be_read(measured: dict[str, Measured]) -> None:
    points = 10 * 96 / 72  # matplotlib's, in CSS pixels, of a picture in its own size
    for name in ("phone", "screen"):
        assert len(measured[name]["pictures"]) == 5
        for picture in measured[name]["pictures"]:
            assert picture["drawn"] > 0, f"{picture['alt']} is no picture"
            assert points * picture["width"] / picture["drawn"] >= SMALLEST, (name, picture["alt"])


@pytest.mark.chromium
def test_two_folders_stand_side_by_side_and_on_a_phone_below_each_other(measured: dict[str, Measured]) -> None:
    first, second = measured["two on a screen"]["answers"]
    assert first["top"] == second["top"] and first["right"] <= second["left"]
    first, second = measured["two on a phone"]["answers"]
    assert first["left"] == second["left"] and first["bottom"] <= second["top"]
    assert len(measured["phone"]["answers"]) == 1


@pytest.mark.chromium
def test_printed_it_is_a_pdf_and_nothing_is_wider_than_its_pages(
    browse: Browse, measured: dict[str, Measured], page: Path, tmp_path: Path
) -> None:
    browse(page, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF-") and re.search(rb"/Type\s*/Page\b", content)
    paper = measured["paper"]
    assert paper["scrolls"] == PAPER
    assert max(box["right"] for box in [*paper["tables"], *paper["pictures"]]) <= PAPER


def test_names_of_the_user_s_own_are_text(page: Path, oracle: OracleResults) -> None:
    found = Page(page.read_text())
    assert "b" not in {tag for tag, _ in found.elements}
    path = str(oracle.folder.path)
    assert ODD in path and found.texts.count(path) == 1
    assert found.texts[-1].endswith(f"from the Parquet files of {path}.")
    assert f"started from Python, with the settings in {path}/manifest.json" in found.texts


def test_each_of_two_folders_is_named_where_its_answer_stands(
    two: Path, oracle: OracleResults, one_run: OracleResults
) -> None:
    found = Page(two.read_text())
    for results in (oracle, one_run):
        assert found.texts.count(str(results.folder.path)) == 2
    assert len([tag for tag, _ in found.elements if tag == "section"]) == 2


def test_one_run_tells_no_trend_and_no_certainty(one_run: OracleResults, tmp_path: Path) -> None:
    found = page_of(one_run.folder.path, tmp_path)
    text = " ".join(found.texts)
    assert "Whether max_lr rises is unknown: this takes at least two runs and three cycles" in text
    assert "No control was run" in text
    assert (
        "one run decides each row: there is no confidence interval of best max_lr and region; give more --runs" in text
    )
    # Of one run there is no interval to draw: no picture of the trend.
    assert len([tag for tag, _ in found.elements if tag == "img"]) == 2


def interrupted(out: Path, lanes: int) -> Path:
    """Begin an oracle, and stop it after so many lanes."""

    def stop(progress: Progress) -> None:
        if progress.lanes_done >= lanes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(EXPERIMENT, resolve(LESS | {"out": out}, kind=EXPERIMENT.settings), stop)
    return out


def test_an_unfinished_oracle_says_how_far_it_is(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "o", 20)
    assert len(sweep.load(folder).oracle) == 1
    text = " ".join(page_of(folder, tmp_path).texts)
    assert "max_lr rises is unknown" in text and "No prediction was compared with the oracle" in text
    assert re.search(r"unfinished: cycle 1 of 2 is open, \d+ of \d+ lanes are done", text)


def test_an_oracle_without_a_decided_cycle_has_no_answer_but_its_settings(tmp_path: Path) -> None:
    found = page_of(interrupted(tmp_path / "o", 5), tmp_path)
    assert "No cycle is decided yet. unfinished: cycle 0 of 2 is open, 5 of" in " ".join(found.texts)
    assert [table[0][0] for table in found.tables] == ["part", "preset"]
    assert "img" not in {tag for tag, _ in found.elements}


def test_a_control_and_a_comparison_that_were_only_begun_do_not_spoil_the_page(
    oracle: OracleResults, tmp_path: Path
) -> None:
    """Stopped before their first lane was trained: there is a manifest, and nothing else."""
    folder = shutil.copytree(oracle.folder.path, tmp_path / "o")
    for part in (folder / "controls/random", folder / "validation-held-out"):
        shutil.rmtree(part / "lanes")
        manifest = json.loads((part / "manifest.json").read_text())
        Folder(part).write_manifest(manifest | {"finished_at": None, "lanes": []})
    shutil.rmtree(folder / "validation")
    found = page_of(folder, tmp_path)
    text = " ".join(found.texts)
    assert "by a factor of" in text and "unfinished: held-out runs, cycle 0 of 3 is open, 0 of" in text
    assert "(gaps)" not in " ".join(str(attributes.get("alt")) for _, attributes in found.elements)


def test_a_tuning_says_what_it_tuned(tmp_path: Path) -> None:
    settings = {name: value for name, value in LESS.items() if name not in ("scyc", "max_lr")}
    results = sweep.tune(**settings | {"runs": 2, "lanes": 4}, **QUIET, out=tmp_path / "t")
    found = page_of(tmp_path / "t", tmp_path)
    assert f"Winner: S-Cyc {results.scyc} (epsilon, delta, q, beta); test accuracy of its chain" in found.answers
    assert [table[0][0] for table in found.tables] == ["stage", "m", "part", "preset"]
    assert len(found.tables[0]) == 1 + len(results.tuning)
    assert "" not in [text.strip() for text in found.texts]  # a block without a heading has none


@pytest.mark.parametrize("runs", [1, 2])
def test_a_comparison_of_schedules_says_which_led(tmp_path: Path, runs: int) -> None:
    settings = {name: value for name, value in LESS.items() if name not in ("scyc", "max_lr")}
    chosen = ("constant=0.1", "scyc=0.05,0.05,1,4") if runs > 1 else ("constant=0.1", "decay=0.1")
    results = sweep.compare_schedules(**settings | {"runs": runs, "schedules": chosen}, **QUIET, out=tmp_path / "s")
    found = page_of(tmp_path / "s", tmp_path)
    counts = results.schedules.groupby("schedule")["best"].sum()
    for name in chosen:
        assert f"{name} in {counts[name]}" in found.answers or not counts[name]
    assert ("one run does not say how certain that is" in found.answers) == (runs == 1)
    assert ("scyc=0.05,0.05,1,4 has the best mean in" in found.answers) == (runs > 1)
    assert [len(table) for table in found.tables[:1]] == [4]


def test_the_command_writes_the_page_and_says_where(here: Run, one_run: OracleResults, tmp_path: Path) -> None:
    result = here("report", one_run.folder.path, one_run.folder.path, "-o", tmp_path / "new" / "page.html")
    assert result.returncode == 0 and result.stdout == ""
    assert "page.html: open it in a browser" in " ".join(result.stderr.split())
    assert len(Page((tmp_path / "new" / "page.html").read_text()).tables) == 10
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("folders", "output", "message"),
    [
        (["none"], "page.html", "none holds no sweep: there is no manifest.json"),
        (["one", "none"], "page.html", "none holds no sweep"),
        (["oracle/validation"], "page.html", "validation is part of an oracle: give the oracle's folder"),
        (["one"], "file/page.html", "page.html cannot be written"),
        (["one"], "folder", "folder is a folder: give a file"),
        ([], "page.html", "report needs FOLDERS"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_and_nothing_is_written(
    here: Run,
    oracle: OracleResults,
    one_run: OracleResults,
    tmp_path: Path,
    folders: list[str],
    output: str,
    message: str,
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("a file")
    for name, results in (("oracle", oracle), ("one", one_run)):
        (tmp_path / name).symlink_to(results.folder.path)
    before = sorted(tmp_path.rglob("*"))
    result = here("report", *folders, "-o", output, cwd=tmp_path)
    assert result.returncode == 2 and result.stdout == ""
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "a file"


def test_a_link_that_the_user_names_stays_and_a_pipe_is_no_page(
    here: Run, one_run: OracleResults, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text("of yesterday")
    (tmp_path / "latest.html").symlink_to("page.html")
    os.mkfifo(tmp_path / "pipe")
    assert here("report", one_run.folder.path, "-o", "latest.html", cwd=tmp_path).returncode == 0
    assert (tmp_path / "latest.html").is_symlink() and "<html" in (tmp_path / "page.html").read_text()
    result = here("report", one_run.folder.path, "-o", "pipe", cwd=tmp_path)
    assert result.returncode == 2 and "pipe is a named pipe: give a file" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", "latest.html", "pipe"}
