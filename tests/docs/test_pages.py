"""The pages: short enough, linked, and true of the files and folders that there are."""

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LONGEST = 200
"""Lines of README."""


def script(root: Path, name: str) -> ModuleType:
    described = importlib.util.spec_from_file_location(name, root / "docs" / f"{name}.py")
    assert described and described.loader
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


def anchor(heading: str) -> str:
    """Return the anchor that GitHub and others give a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {anchor(heading) for heading in HEADING.findall(text)}


def links(prose: dict[Path, str]) -> Iterator[tuple[Path, str]]:
    for page, text in prose.items():
        yield from ((page, target) for target in LINK.findall(text) if "://" not in target)


def test_the_anchor_of_a_heading_is_as_markdown_viewers_make_it() -> None:
    assert anchor("What an oracle is, exactly") == "what-an-oracle-is-exactly"
    assert anchor("lanes/*.parquet") == "lanesparquet" and anchor("`show --rescore`") == "show---rescore"


def test_readme_is_a_door_and_no_manual(root: Path, pages: dict[Path, str]) -> None:
    assert pages[root / "README.md"].count("\n") <= LONGEST


def test_every_link_leads_to_a_file_and_an_anchor_that_are_there(
    prose: dict[Path, str], pages: dict[Path, str]
) -> None:
    lost = []
    for page, target in links(prose):
        name, _, part = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (part and part not in anchors(pages[path])):
            lost.append(f"{page.name}: {target}")
    assert not lost


def test_every_page_is_linked_from_readme_and_every_picture_is_shown(root: Path, prose: dict[Path, str]) -> None:
    linked = {(page.parent / target.partition("#")[0]).resolve() for page, target in links(prose)}
    from_readme = {(root / target.partition("#")[0]).resolve() for page, target in links(prose) if page.parent == root}
    assert set((root / "docs").glob("*.md")) <= from_readme
    assert {*(root / "docs").glob("*.png"), *(root / "docs").glob("*.svg")} <= linked


def test_columns_are_those_of_the_code(root: Path, pages: dict[Path, str]) -> None:
    text = pages[root / "docs" / "files.md"]
    assert script(root, "make_files").page(text) == text, "run `python docs/make_files.py`"


def test_files_and_folders_of_the_code_that_are_named_are_there(
    root: Path, inline: list[tuple[Path, str]], pages: dict[Path, str]
) -> None:
    tree = ("sweep", "trainables", "search_spaces", "tests", "docs", "docker", "notebooks", ".ci")
    own = re.findall(r"```python\n# (\w+\.py)\n", "".join(pages.values()))  # files that a page shows
    named = [(page, code) for page, code in inline if _is_path(code, tree) and Path(code).name not in own]
    assert not [f"{page.name}: {code}" for page, code in named if not (root / code).exists()]


def _is_path(code: str, tree: tuple[str, ...]) -> bool:
    return bool(re.fullmatch(r"[\w./-]+", code)) and "/" in code and code.split("/")[0] in tree


def test_names_behind_a_file_are_defined_in_it(root: Path, pages: dict[Path, str]) -> None:
    """Rows of a table such as | what | `file.py` | `NAME` |."""
    rows = re.findall(r"^\|[^|]+\| `([\w/]+\.py)` \| `(\w+)` \|$", pages[root / "docs" / "extending.md"], re.MULTILINE)
    assert len(rows) > 4
    for file, name in rows:
        assert re.search(rf"^(def |class )?{name}\b", (root / file).read_text(), re.MULTILINE), f"{name} in {file}"


def test_every_benchmark_is_described_and_run_by_make_or_named_as_not(root: Path, pages: dict[Path, str]) -> None:
    scripts = {path.name for path in (root / "tests" / "benchmarks").glob("*.py")} - {"common.py", "naive_scripts.py"}
    text = pages[root / "docs" / "benchmarks.md"]
    assert scripts == set(re.findall(r"^\| `(\w+\.py)` \|", text, re.MULTILINE))
    run = set(re.findall(r"tests/benchmarks/(\w+\.py)", (root / "Makefile").read_text()))
    assert scripts - run == {"intervals.py"} and "all scripts of `tests/benchmarks/` but `intervals.py`" in text


def test_a_constant_lies_where_its_page_says(root: Path, prose: dict[Path, str]) -> None:
    """Such as `NAME` (`file.py`)."""
    found = [match for text in prose.values() for match in re.findall(r"`([A-Z_]{4,})`\s\(`([\w/]+\.py)`\)", text)]
    assert len(found) > 1
    for name, file in found:
        assert re.search(rf"^{name}\b", (root / file).read_text(), re.MULTILINE), f"{name} in {file}"


def test_the_tree_of_rooms_is_that_of_the_folders(root: Path, pages: dict[Path, str]) -> None:
    text = pages[root / "docs" / "architecture.md"]
    tree = re.search(r"```text\n(search_spaces/.*?)```", text, re.DOTALL)[1]
    drawn, path = set(), []
    for line in tree.splitlines():
        indent, name = re.match(r"( *)([\w]+)/  ", line).groups()
        path = [*path[: len(indent) // 2], name]
        drawn.add("/".join(path))
    files = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True).stdout.splitlines()
    if not files:
        pytest.skip("no checkout")
    folders = {parent.as_posix() for file in files for parent in Path(file).parents} - {"."}
    shown = {each for each in folders if not each.startswith((".", "tests/"))}
    assert drawn == shown


def test_quoted_outputs_name_a_command_whose_folder_can_be_made(root: Path, pages: dict[Path, str]) -> None:
    outputs = script(root, "make_outputs")
    found = [match["command"] for text in pages.values() for match in outputs.quoted(text)]
    assert len(found) == sum(text.count("<!-- output:") for text in pages.values()) > 0
    assert {outputs.folder_of(command) for command in found} == outputs.SWEEPS.keys()
