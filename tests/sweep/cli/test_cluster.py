"""`submit --dry-run`: what would be sent, without a head, Ray or torch."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import sweep
from sweep.cli.cluster import asked_of
from sweep.cli.main import app

Run = Callable[..., subprocess.CompletedProcess[str]]
OWN = Path(str(sweep.__file__)).parents[1]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands are typed in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCYC_SWEEP_STORAGE", raising=False)
    return tmp_path


def test_it_says_the_same_each_time_and_leaves_nothing_behind(here: Run, somewhere: Path) -> None:
    words = ["submit", "--dry-run", "--storage", "s3://b/sweeps", "--", "oracle", "--runs", "2"]
    one, two = (here(*words) for _ in range(2))
    assert one.returncode == two.returncode == 0 and one.stdout == two.stdout and one.stderr == ""
    assert list(somewhere.iterdir()) == []
    entrypoint, _, content = one.stdout.partition("\n")
    assert entrypoint == "python -m sweep job request.json"
    found = json.loads(content)
    _, asked = asked_of(app, words[5:], "s3://b/sweeps", None)
    assert found["folder"] == "s3://b/sweeps/digits"
    assert found["submission_id"] == f"digits-oracle-{asked.request.digest}-1"
    assert found["request"]["command"] == ["scyc-sweep", *words]
    assert found["request"]["documents"] == asked.request.model_dump(mode="json")["documents"]
    brought = found["runtime_env"]["working_dir"]
    assert brought == sorted(brought) and {"sweep/__main__.py", "request.json"} <= {*brought}


def test_it_asks_no_head_and_loads_neither_ray_nor_torch(somewhere: Path) -> None:
    code = (
        "import sys; sys.argv = ['scyc-sweep', 'submit', '--dry-run', '--address', 'http://127.0.0.1:9',"
        " '--', 'oracle']\n"
        "from sweep.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print(sorted({'ray', 'torch', 'optuna'} & set(sys.modules)), file=sys.stderr)"
    )
    env = {**os.environ, "PYTHONPATH": str(OWN)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0 and done.stderr.strip() == "[]", done.stderr


def test_the_storage_may_come_from_the_environment(here: Run) -> None:
    ran = here("submit", "--dry-run", "--", "oracle", env={"SCYC_SWEEP_STORAGE": "s3://b/mine"})
    assert '"out": "s3://b/mine/digits"' in ran.stdout


def test_the_command_of_jobs_is_not_in_the_help(here: Run) -> None:
    words = {line.strip("│ ").partition(" ")[0] for line in here("--help").stdout.splitlines()}
    assert "submit" in words and "job" not in words
