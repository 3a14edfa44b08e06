"""The job's side: what travelled, unpacked alone, carries out the request, with the exit codes of a command."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from search_spaces.scyc import SCyc
from sweep import confirm, control, load
from sweep.cluster.parcel import ENTRYPOINT, parcel
from sweep.cluster.records import Submission, environment, write_record
from sweep.cluster.request import Asked
from sweep.experiments.oracle.results import OracleResults

Ask = Callable[..., Asked]
Run = Callable[..., subprocess.CompletedProcess[str]]
Job = subprocess.CompletedProcess[str]

QUICK = ["--max-lr", "0.01:1:x4", "--runs", "1", "--lanes", "2", "--engine", "inline"]
TINY = [*QUICK, "--cycles", "1", "--steps", "17"]
TIMED = ["wall_seconds", "finished_at"]

pytestmark = pytest.mark.usefixtures("somewhere")


def started(asked: Asked, written: Path, folder: Path, storage: Path | None = None) -> "subprocess.Popen[str]":
    """Start a job as Ray does: its command in the folder that travelled, with the environment of its submission.

    `written`: the storage as the submitter sees it; `storage`: as it is called, if that is another.
    """
    submission = Submission.of(asked, 1, "http://head:8265")
    write_record(written, submission)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        shlex.split(ENTRYPOINT),
        cwd=folder,
        env=env | environment(submission, storage or written) | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def carried_out(asked: Asked, storage: Path) -> Job:
    with parcel(asked.request) as folder:
        process = started(asked, storage, folder)
        out, err = process.communicate(timeout=300)
        assert not (folder / "results").exists()
    return Job(process.args, process.returncode, out, err)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        *(table.drop(columns=[name for name in TIMED if name in table]) for table in (one, other))
    )


def test_a_job_gives_the_tables_of_the_command_and_of_those_beside_it(
    ask: Ask, somewhere: Path, here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, typed = somewhere / "s", ["scyc-sweep", "submit", "--", "oracle"]
    monkeypatch.setattr(sys, "argv", typed)
    extra = ["--pruning", "global_magnitude", "--scyc", "0.04,0.1,1,4"]
    asked = ask("oracle", *TINY, *extra, storage=storage)
    ran = carried_out(asked, storage)
    assert ran.returncode == 0, ran.stderr
    assert here("oracle", *TINY, *extra, "--out", somewhere / "here").returncode == 0
    found, wanted = load(storage / "digits"), load(somewhere / "here")
    assert isinstance(found, OracleResults) and isinstance(wanted, OracleResults)
    assert found.manifest["command"] == shlex.join(typed)
    assert f"results in {storage / 'digits'}" in ran.stderr and f" {found.oracle['best_max_lr'][0]:.3g} " in ran.stdout
    for table in ("lanes", "oracle", "curves", "comparison"):
        same(getattr(found, table), getattr(wanted, table))

    control(somewhere / "here", progress=False)
    assert carried_out(ask("control", "digits", storage=storage), storage).returncode == 0
    confirm(somewhere / "here", {"0.04,0.2,1,4": SCyc(0.04, 0.2, 1, 4)}, 1, progress=False)
    words = ["compare", "digits", "--confirm", "1", "--scyc", "0.04,0.2,1,4"]
    assert carried_out(ask(*words, storage=storage), storage).returncode == 0
    found, wanted = OracleResults(storage / "digits"), OracleResults(somewhere / "here")
    assert list(found.controls) == list(wanted.controls) == ["none", "random"]
    for name in found.controls:
        same(found.controls[name].oracle, wanted.controls[name].oracle)
    same(pd.read_parquet(storage / "digits" / "trend.parquet"), pd.read_parquet(somewhere / "here" / "trend.parquet"))
    chains = {*pd.read_parquet(storage / "digits" / "trend.parquet")["chain"]}
    assert chains == {"global_magnitude", "none", "random"}
    same(found.held_out_validation.verdicts, wanted.held_out_validation.verdicts)  # type: ignore[attr-defined]


def test_what_the_job_refuses_is_one_line_with_exit_2(ask: Ask, somewhere: Path) -> None:
    storage = somewhere / "s"
    asked = ask("oracle", *TINY, "--dataset", "fashion_mnist", storage=storage)
    ran = carried_out(asked, storage)
    assert ran.returncode == 2 and len(ran.stderr.splitlines()) == 2, ran.stderr
    assert ran.stderr.splitlines()[1].startswith("scyc-sweep: ") and str(storage / "data") in ran.stderr
    with parcel(asked.request) as folder:
        (folder / "request.json").write_text("{}")
        process = started(asked, storage, folder)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 2 and out == "" and len(err.splitlines()) == 1
    assert err.startswith("scyc-sweep: request.json is no request of this version: command: ")


@pytest.mark.parametrize(("number", "said"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_ends_it_as_it_ends_a_command_and_the_same_submit_goes_on(
    ask: Ask, somewhere: Path, number: signal.Signals, said: str
) -> None:
    storage = somewhere / "s"
    asked = ask("oracle", *QUICK, "--cycles", "40", "--steps", "340", storage=storage)
    with parcel(asked.request) as folder:
        process = started(asked, storage, folder)
        until = time.monotonic() + 100
        while not [*storage.glob("digits/lanes/*.parquet")]:
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 128 + number
    assert err.endswith(f"scyc-sweep: {said}; all finished lanes are kept. To go on: submit it again\n")


def test_a_job_whose_storage_is_another_machines_is_refused(ask: Ask, somewhere: Path) -> None:
    asked = ask("oracle", *TINY, storage=somewhere / "s")
    with parcel(asked.request) as folder:
        process = started(asked, somewhere / "elsewhere", folder, storage=somewhere / "s")
        _, err = process.communicate(timeout=100)
    assert process.returncode == 2 and f"does not see {somewhere / 's' / 'submissions'}" in err
    assert not (somewhere / "s").exists()
