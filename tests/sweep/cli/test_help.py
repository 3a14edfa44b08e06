"""The help that one can read: groups in order, the most used flags first, defaults, examples, completion."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.cli.help import EXAMPLES, GROUPS, unwrapped
from sweep.cli.main import app
from sweep.config.groups import GROUPS as FLAG_GROUPS

Run = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = [name for name in app if not name.startswith("-") and app[name].show]
WIDTH = pytest.mark.parametrize("columns", [80, 120])


def panels(text: str) -> dict[str, str]:
    """Return the panels of a help by title, each as one line of text."""
    found = re.findall(r"^╭─ (.+?) ─+╮\n(.*?)^╰", text, re.MULTILINE | re.DOTALL)
    return {title: " ".join(body.replace("│", " ").split()) for title, body in found}


def test_every_command_stands_in_one_group_and_has_two_examples() -> None:
    names = [name for _, group in GROUPS for name in group]
    assert sorted(names) == sorted(COMMANDS) == sorted(EXAMPLES)
    assert all(len(lines) == 2 for lines in EXAMPLES.values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_can_be_typed(name: str) -> None:
    for line in EXAMPLES[name]:
        words = shlex.split(line)
        command, _, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        assert words[0] in COMMANDS and callable(command)


@WIDTH
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_its_width_and_ends_with_its_examples(here: Run, name: str, columns: int) -> None:
    text = here(name, "--help", env={"COLUMNS": str(columns)}).stdout
    assert max(map(len, text.splitlines())) <= columns
    end = text.rstrip().splitlines()[-3:]
    assert end == ["Examples:", *(f"  scyc-sweep {line}" for line in EXAMPLES[name])]


@WIDTH
def test_the_help_without_a_command_has_the_groups_of_commands_in_order(here: Run, columns: int) -> None:
    text = here("--help", env={"COLUMNS": str(columns)}).stdout
    assert list(panels(text)) == [*(title for title, _ in GROUPS), "Other"]
    assert "--install-completion" in panels(text)["Other"]
    assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize(("command", "own"), [("oracle", []), ("tune", ["Tuning"]), ("schedules", ["Schedules"])])
def test_flags_stand_in_groups_the_most_used_first(here: Run, command: str, own: list[str]) -> None:
    found = panels(here(command, "--help").stdout)
    groups = [each for each in FLAG_GROUPS if each != "Plan" or command != "tune"]
    assert list(found) == [groups[0], *own, *groups[1:]]
    flags = re.findall(r"(?:^| )(--[a-z-]+) [A-Z]", found["Most used"])
    assert flags == [
        *("--preset", "--model", "--dataset", "--pruning", "--cycles", "--runs", "--max-lr", "--steps", "--out"),
        "--config",
    ]


def test_every_flag_of_an_oracle_has_its_default(here: Run) -> None:
    found = panels(here("oracle", "--help", env={"COLUMNS": "200"}).stdout)
    assert "trains the unpruned network. [default: digits: 15]" in found["Most used"]
    assert "[default: digits: 64 64 64]" in found["What is trained"]
    assert "[default: RAY_ADDRESS, else a new local Ray]" in found["Where it runs"]
    assert "False" not in " ".join(found.values()) and "None" not in " ".join(found.values())


@pytest.mark.parametrize("command", ["compare", "control"])
def test_what_trains_beside_an_oracle_runs_where_the_oracle_ran_unless_told(here: Run, command: str) -> None:
    found = panels(here(command, "--help", env={"COLUMNS": "200"}).stdout)
    assert found["Where it runs"].count("[default: as in the oracle]") == 7


def test_a_text_is_wrapped_by_the_terminal_alone() -> None:
    doc = """First line
    of a summary.

    A paragraph
    of two lines.

    Parameters
    ----------
    one
        Described in
        two lines.
    two
        In one.

    """
    assert unwrapped(doc).rstrip() == (
        "First line of a summary.\n\nA paragraph of two lines.\n\nParameters\n----------\n"
        "one\n    Described in two lines.\ntwo\n    In one."
    )


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", ".local/share/bash-completion/completions/scyc-sweep"),
        ("zsh", ".zsh/completions/_cyclopts_scyc-sweep"),
        ("fish", ".config/fish/completions/scyc-sweep.fish"),
    ],
)
def test_completion_is_installed_for_a_shell(run: Run, tmp_path: Path, shell: str, file: str) -> None:
    plain = {"HOME": str(tmp_path), "ZSH_CUSTOM": "", "ZSH": "", "XDG_CONFIG_HOME": "", "XDG_DATA_HOME": ""}
    result = run("--install-completion", "--shell", shell, env=plain)
    assert result.returncode == 0, result.stderr
    script = (tmp_path / file).read_text()
    for word in ("oracle", "schedules", "max-lr", "global_magnitude"):
        assert word in script
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(tmp_path / file)], check=True)
