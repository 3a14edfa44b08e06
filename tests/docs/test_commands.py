"""Every command of the pages can be typed: the parser takes it, its flags exist, its settings are valid."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from sweep.cli.main import app
from sweep.config.resolve import read_toml, resolve
from sweep.errors import SweepError
from sweep.experiments import registry

OTHERS = {"pip", "ray", "ssh", "export", "source", "docker", "kubectl", "sbatch", "make", "python"}
"""Programs that shell blocks begin with, besides scyc-sweep."""
RESERVED = {"--help", "-h", "--version"}
OWN = re.compile(r'^"([\w-]+)": Entry\(', re.MULTILINE)
"""An experiment of the reader's own that a page registers; `test_python` runs it."""
Typed = list[tuple[Path, list[str]]]


def ours(typed: Typed) -> Iterator[tuple[Path, list[str]]]:
    """Yield the arguments of every scyc-sweep among the commands, in a container and on Slurm too."""
    for page, words in typed:
        program = Path(words[0]).name
        if program == "scyc-sweep" and words[1] in OWN.findall(page.read_text()):
            continue
        if program == "scyc-sweep":
            yield page, words[1:]
        elif program == "sbatch":
            yield page, words[2:]
        elif program == "docker" and words[1] != "build" and "scyc-sweep" in words:
            yield page, words[words.index("scyc-sweep") + 1 :]


def arguments(words: list[str]) -> dict[str, object]:
    """Return the arguments that the parser makes of a command, and check those of the command that it submits."""
    if words[-1] == "--help" or len(words) == 1:  # a name in the prose needs no arguments
        assert words[0] in app
        return {}
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    if words[0] == "submit":
        arguments(words[words.index("--") + 1 :])
    return bound.arguments


def flags() -> set[str]:
    """Return every flag of every command."""
    commands = [app[name] for name in app if not name.startswith("-")]
    return {name for each in commands for argument in each.assemble_argument_collection() for name in argument.names}


def test_the_parser_takes_every_command(typed: Typed, own_files: Callable[[], Path]) -> None:
    own_files()
    wrong, seen = [], set()
    for page, words in ours(typed):
        seen.add(words[0])
        try:
            arguments(words)
        except Exception as error:
            wrong.append(f"{page.name}: {shlex.join(words)}: {error}")
    assert not wrong
    assert seen == {name for name in app if not name.startswith("-") and app[name].show}, "commands that no page shows"


def test_the_settings_of_every_command_are_valid(typed: Typed, own_files: Callable[[], Path]) -> None:
    tuned = own_files() / "results" / "digits-tuning" / "scyc.toml"
    tuned.parent.mkdir(parents=True)
    tuned.write_text('schedule = "scyc"\nepsilon = 0.03\ndelta = 0.03\nq = 1\nbeta = 4.0\n')
    wrong = []
    for page, words in ours(typed):
        given = arguments(words).get("flags")
        if words[0] not in ("oracle", "tune", "schedules") or given is None:
            continue
        try:
            _resolved(words[0], dict(given))
        except SweepError as error:
            wrong.append(f"{page.name}: {shlex.join(words)}: {error}")
    assert not wrong


def _resolved(command: str, given: dict[str, object]) -> None:
    resolve(given, kind=registry.settings_class(command))


def test_every_flag_that_is_named_exists(root: Path, inline: list[tuple[Path, str]]) -> None:
    scripts = [*(root / "tests" / "benchmarks").glob("*.py"), *(root / "docs").glob("*.py")]
    others = set(re.findall(r'"(--[\w-]+)"', "".join(path.read_text() for path in scripts)))
    known = flags() | RESERVED | others | {"--generate", "--build-arg", "--strict"}  # of Ray, Docker and mypy
    unknown = [
        f"{page.name}: {code}"
        for page, code in inline
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
        if flag not in known and not any(f"scyc-sweep {name}" in code for name in OWN.findall(page.read_text()))
    ]
    assert not unknown


def test_other_programs_are_known_and_what_they_are_given_is_there(root: Path, typed: Typed) -> None:
    targets = set(re.findall(r"^(\w+):", (root / "Makefile").read_text(), re.MULTILINE))
    for page, words in typed:
        program = Path(words[0]).name
        assert program in OTHERS | {"scyc-sweep"}, f"{page.name}: {shlex.join(words)}"
        if program == "make":
            assert set(words[1:]) <= targets
        if program == "python":
            named = [word for word in words[1:] if "/" in word and not word.startswith(("results", "-"))]
            code = words[words.index("-c") + 1] if "-c" in words else ""
            compile(code, page.name, "exec")
            if not code:
                assert all((root / word).exists() for word in named if "..." not in word), f"{page.name}: {words}"
        for word in words:
            if word.startswith("docker/"):
                assert (root / word).exists()


def test_a_toml_file_of_the_pages_is_one(blocks: list, tmp_path: Path) -> None:
    files = [block.text for block in blocks if block.language == "toml"]
    assert files
    for text in files:
        (tmp_path / "settings.toml").write_text(text)
        assert read_toml(tmp_path / "settings.toml") and resolve({}, tmp_path / "settings.toml")


def test_the_flags_of_our_scripts_are_theirs(root: Path, typed: Typed) -> None:
    for page, words in typed:
        if words[0] == "python" and words[1].startswith("docs/"):
            for flag in (word for word in words[2:] if word.startswith("--")):
                assert f'"{flag}"' in (root / words[1]).read_text(), f"{page.name}: {shlex.join(words)}"
