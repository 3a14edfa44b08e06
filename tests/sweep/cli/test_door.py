"""What a command imports: the ones that only look open without the libraries that training takes.

tests/benchmarks/door.py prints the CPU time of each.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sweep import build_oracle, compare_schedules, tune

SLOW = ("torch", "torchvision", "ray", "optuna", "sklearn", "statsmodels", "matplotlib", "scipy.stats", "pandas")
"""Libraries that take a tenth of a second or more to import."""
SMALL = {"engine": "inline", "device": "cpu", "steps": 10, "runs": 2, "cycles": 2, "hidden": (8,), "lanes": 3}
PROBE = f"""
import json, sys
sys.argv[0] = "scyc-sweep"
from sweep.cli.main import main
try:
    main()
except SystemExit as ended:
    status = ended.code or 0
print(json.dumps([status, [name for name in {SLOW} if name in sys.modules]]), file=sys.stderr)
"""


def imported(*words: str | Path, cwd: Path | None = None) -> set[str]:
    """Run a command in a process of its own to a good end; return which slow libraries it has imported."""
    result = subprocess.run([sys.executable, "-c", PROBE, *map(str, words)], capture_output=True, text=True, cwd=cwd)
    status, found = json.loads(result.stderr.splitlines()[-1])
    assert status == 0, result.stderr
    return set(found)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a small oracle and comparison of schedules."""
    folder = tmp_path_factory.mktemp("storage")
    build_oracle(progress=False, **SMALL, max_lr="0.01:1:x3", scyc="0.05,0.1,1,4", out=folder / "oracle")
    compare_schedules(
        progress=False, **SMALL, max_lr="0.01:1:x3", schedules=("constant=0.1", "decay=0.1"), out=folder / "schedules"
    )
    return folder


@pytest.mark.parametrize(
    "words",
    [
        *("--help", "--version", "oracle --help", "tune --help", "schedules --help", "compare --help", "submit --help"),
        *("config", "config resnet20 --command tune"),
    ],
)
def test_help_and_config_import_no_slow_library_at_all(words: str) -> None:
    assert imported(*words.split()) == set()


TABLES_ALONE: dict[str, set[str]] = {
    "presets": {"pandas"},
    "trajectory --epsilon 0.04 --delta 0.06 --q 1 --beta 4": {"pandas"},
    "show oracle": {"pandas"},
    "show oracle --rescore": {"pandas"},
    "show oracle --format json": {"pandas"},
    "show oracle --trend": {"pandas", "scipy.stats"},  # Page's test
    "show schedules": {"pandas", "scipy.stats"},  # a paired t-test
    "status --storage .": {"pandas"},
    "compare oracle": {"pandas", "matplotlib"},  # it draws the figure
}


@pytest.mark.parametrize("words", TABLES_ALONE)
def test_commands_that_look_at_results_import_neither_torch_nor_ray(words: str, storage: Path) -> None:
    assert imported(*words.split(), cwd=storage) <= TABLES_ALONE[words]


def test_the_probe_sees_what_a_command_imports(storage: Path) -> None:
    assert {"torch", "matplotlib"} <= imported("gradients", "oracle", cwd=storage)


def test_a_tuning_is_replayed_with_optuna_and_without_torch(tmp_path: Path) -> None:
    tune(progress=False, **SMALL, trials=3, max_lr="0.01:1:x3", out=tmp_path / "tuning")
    assert imported("show", tmp_path / "tuning") <= {"pandas", "scipy.stats", "optuna"}


def test_results_are_loaded_in_python_without_torch_and_ray(storage: Path) -> None:
    code = (
        "import sys, sweep; sweep.load('oracle').oracle; print(sorted({'torch', 'ray', 'optuna'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=storage, check=True)
    assert result.stdout == "[]\n"
