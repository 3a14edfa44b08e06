"""What the tests of the documentation share: its pages, their code blocks and commands."""

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def pages() -> dict[Path, str]:
    """The text of README and of all pages of docs/."""
    return {
        path: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    }


@pytest.fixture(scope="session")
def blocks(pages: dict[Path, str]) -> list[Block]:
    return [Block(page, language, body) for page, text in pages.items() for _, language, body in BLOCK.findall(text)]


@pytest.fixture(scope="session")
def prose(pages: dict[Path, str]) -> dict[Path, str]:
    """The pages without their blocks."""
    return {page: BLOCK.sub("", text) for page, text in pages.items()}


@pytest.fixture(scope="session")
def inline(prose: dict[Path, str]) -> list[tuple[Path, str]]:
    """What stands between backquotes in the prose."""
    return [(page, code) for page, text in prose.items() for code in INLINE.findall(text)]


@pytest.fixture(scope="session")
def typed(blocks: list[Block], inline: list[tuple[Path, str]]) -> list[tuple[Path, list[str]]]:
    """Every command that a reader may type, as words: those of shell blocks, and scyc-sweep's in the prose."""
    found = [(page, shlex.split(code)) for page, code in inline if re.match(r"(scyc-sweep|python) [\w-]", code)]
    for block in blocks:
        if block.language == "sh":
            found += [(block.page, words) for words in _commands(block.text)]
    return found


@pytest.fixture
def own_files(blocks: list[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Path]]:
    """Write the files of a user's own that the pages show, into a folder that is then the working folder.

    Their modules and their commands are forgotten afterwards.
    """
    from sweep.cli.main import app

    known, commands = set(sys.modules), set(app)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write() -> Path:
        for block in blocks:
            named = re.match(r"# (\w+\.py)\n", block.text)
            if block.language == "python" and named:
                (tmp_path / named[1]).write_text(block.text)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    yield write
    for name in set(app) - commands:
        del app[name]
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(tmp_path):
            del sys.modules[name]


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and words[-1] == "&":
            words.pop()
        if ">" in words:  # where its output goes
            words = words[: words.index(">")]
        if words:
            yield words
