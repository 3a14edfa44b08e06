"""The command line as a stranger meets it: what it prints, what it refuses, and how it ends."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sweep import load
from sweep.cli.main import app
from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.errors import SweepError
from sweep.experiments.oracle.experiment import EXPERIMENT
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.runner import run as carry_out
from sweep.store.folder import Folder

Small = Callable[..., list[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def finished(made: Callable[..., str], small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished small oracle."""
    folder = tmp_path_factory.mktemp("finished") / "digits"
    made(*small(out=folder))
    return folder


def test_help_imports_neither_torch_nor_ray_nor_pandas() -> None:
    code = (
        "import sys; sys.argv = ['scyc-sweep', 'oracle', '--help']\n"
        "from sweep.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'ray', 'pandas', 'pyarrow', 'optuna'} & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "[]"


def test_every_setting_is_a_flag_with_help(here: Run) -> None:
    text = here("oracle", "--help", env={"COLUMNS": "200"}).stdout
    for name, field in Settings.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        assert re.search(rf"{flag}\b", text), flag
        assert field.description
        assert " ".join(field.description.split()[:3]) in " ".join(text.split())


def test_every_command_has_a_line_in_the_help(here: Run) -> None:
    text = here("--help").stdout
    commands = [name for name in app if not name.startswith("-") and app[name].show]
    assert " ".join(sorted(commands)) == (
        "collect compare config control gradients logs oracle presets report schedules show status stop submit "
        "trajectory tune"
    )
    for name in commands:
        assert re.search(rf"\b{name}\s+\w+", text), name


def test_version_is_the_installed_one(here: Run) -> None:
    assert here("--version").stdout.strip() == "0.1.0"


def test_trajectory_prints_one_json_object_of_the_papers_table_3(here: Run) -> None:
    arguments = ["--epsilon", "0.04", "--delta", "0.06", "--q", "1", "--beta", "4", "--cycles", "13", "--json"]
    table = json.loads(here("trajectory", *arguments).stdout)
    assert list(table) == ["cycle", "percent_remaining", "max_lr"]
    assert table["cycle"] == list(range(14))
    assert table["percent_remaining"][1] == pytest.approx(80)
    # Printed: 4, 4.02, 4.5, 6.7, 8.8, 9.9, 9.99 hundredths, truncated.
    printed = {0: "4.00", 2: "4.02", 3: "4.5", 4: "6.7", 5: "8.8", 7: "9.9", 13: "9.99"}
    for cycle, digits in printed.items():
        assert f"{table['max_lr'][cycle] * 100 + 1e-12:.10f}".startswith(digits.rstrip("0").rstrip(".")), cycle


def test_an_oracle_leaves_every_file_of_a_results_folder(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()} - {".lock"}
    tables = {"oracle.parquet", "curves.parquet", "trend.parquet", "comparison.parquet"}
    assert names == {"manifest.json", "lanes", "states", "trajectory.png", "shortfalls.png"} | tables
    assert (finished / "trajectory.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in finished.rglob("*") if path.suffix in {".pkl", ".pickle", ".pt", ".partial"}]


def test_states_that_remain_are_winners_and_initial_weights(finished: Path) -> None:
    results = load(finished)
    winners = {row["state"] for closed in results.replay.closed for row in closed.best_rows}
    initial = set(results.lanes[results.lanes["cycle"] == 0]["parent_state"])
    assert {path.stem for path in (finished / "states").iterdir()} == winners | initial
    assert len(winners) == 6
    assert len(initial) == 2


def test_the_parquet_files_open_with_plain_pandas_and_hold_what_load_gives(finished: Path) -> None:
    results = load(finished)
    oracle = pd.read_parquet(finished / "oracle.parquet")
    assert list(oracle["cycle"]) == [0, 1, 2]
    pd.testing.assert_frame_equal(oracle.drop(columns="run"), results.oracle.drop(columns="run"))
    assert oracle["run"].isna().all()
    lanes = pd.concat([pd.read_parquet(path) for path in (finished / "lanes").iterdir()])
    assert len(lanes) == len(results.lanes) == oracle["lanes"].sum()
    assert len(results.comparison) == 3


def test_show_and_compare_print_json_and_nothing_else(here: Run, finished: Path) -> None:
    shown = here("show", finished, "--format", "json")
    oracle = load(finished).oracle
    assert json.loads(shown.stdout)["best_max_lr"] == list(oracle["best_max_lr"])
    assert shown.stdout.count("\n") == 1
    compared = json.loads(here("compare", finished, "--scyc", "0.04,0.02,0,4", "--json").stdout)
    assert compared["scyc_max_lr"][0] == pytest.approx(0.04)
    assert set(compared) == set(load(finished).comparison.columns)


def test_the_printed_table_has_the_tables_numbers(here: Run, finished: Path) -> None:
    text = here("show", finished).stdout
    for row in load(finished).oracle.to_dict("records"):
        line = next(line for line in text.splitlines() if line.split()[:1] == [str(row["cycle"])])
        assert f"{row['best_max_lr']:.3g}" in line
        assert f"{row['val_accuracy_mean']:.2f}±{row['val_accuracy_std']:.2f}" in line
        assert f"{row['test_accuracy_mean']:.2f}±{row['test_accuracy_std']:.2f}" in line


@pytest.mark.parametrize(
    "flags",
    [
        {"decide": "per_run", "tolerance_kind": "relative"},
        {"split": "fixed_test", "score": "last", "eval_every": 20},
        {"pruning": "layer_magnitude", "rewind": "init", "dtype": "float64"},
        {"pruning": "none", "schedule": "constant", "warmup_steps": 0},
        {"pruning": "taylor_bn", "model": "resnet20", "dataset": "digits", "steps": 9, "runs": 1, "optimizer": "adam"},
    ],
    ids=lambda flags: " ".join(map(str, flags.values())),
)
def test_every_way_of_running_ends_with_a_whole_table(
    here: Run, small: Small, tmp_path: Path, flags: dict[str, object]
) -> None:
    result = here(*small(cycles=1, out=tmp_path / "o", **flags))
    assert result.returncode == 0, result.stderr
    results = load(tmp_path / "o")
    rows = 2 if flags.get("decide") == "per_run" else 1
    assert list(results.oracle["cycle"]) == sorted([0, 1] * rows)
    assert results.oracle["val_accuracy_mean"].notna().all()
    remaining = {"none": 100.0}.get(str(flags.get("pruning")), 80.0)
    rounding = 2.0 if flags.get("pruning") == "taylor_bn" else 0.05  # floor(0.2 n) of 16, 32 and 64 filters
    assert results.oracle["percent_remaining"].iloc[-1] == pytest.approx(remaining, abs=rounding)
    assert (tmp_path / "o" / "trajectory.png").stat().st_size > 10_000


def test_a_finished_sweep_runs_again_without_training_or_ray(run: Run, finished: Path, small: Small) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "lanes").iterdir()}
    # An address where nothing listens: reaching for Ray would fail.
    result = run(*small(engine="ray", address="127.0.0.1:9", out=finished))
    assert result.returncode == 0, result.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (finished / "lanes").iterdir()}


def test_the_same_settings_twice_gives_equal_tables_bit_for_bit(
    here: Run, finished: Path, small: Small, tmp_path: Path
) -> None:
    assert here(*small(out=tmp_path / "again")).returncode == 0
    ours, again = load(finished), load(tmp_path / "again")
    times = ["wall_seconds", "finished_at"]
    pd.testing.assert_frame_equal(ours.lanes.drop(columns=times), again.lanes.drop(columns=times), check_exact=True)
    pd.testing.assert_frame_equal(
        ours.oracle.drop(columns="wall_seconds"), again.oracle.drop(columns="wall_seconds"), check_exact=True
    )


def test_what_lanes_auto_chose_is_kept_when_the_sweep_goes_on(here: Run, small: Small, tmp_path: Path) -> None:
    arguments = small(out=tmp_path / "o", lanes="auto", runs=1, steps=34, cycles=0)
    assert here(*arguments).returncode == 0
    chosen = load(tmp_path / "o").manifest["lanes_per_pack"]
    assert chosen in (1, 2, 4)
    base = "0.0099 < max_lr < 1.01"  # extensions come in packs of their own
    assert set(load(tmp_path / "o").lanes.query(base)["lanes_in_pack"]) == {chosen}
    manifest = Folder(tmp_path / "o").manifest()
    assert manifest is not None
    Folder(tmp_path / "o").write_manifest(manifest | {"lanes_per_pack": 3})  # as if another machine had chosen
    assert here(*small(out=tmp_path / "o", lanes="auto", runs=1, steps=34, cycles=1)).returncode == 0
    lanes = load(tmp_path / "o").lanes.query(f"cycle == 1 and {base}")
    assert set(lanes["lanes_in_pack"]) == {2}  # 4 points in packs of up to 3


def test_more_cycles_runs_and_points_extend_a_folder(here: Run, tmp_path: Path, small: Small) -> None:
    assert here(*small(out=tmp_path / "o", cycles=0, runs=1)).returncode == 0
    first = load(tmp_path / "o").lanes.set_index("lane_id")["finished_at"]
    assert here(*small(out=tmp_path / "o", cycles=1)).returncode == 0
    later = load(tmp_path / "o").lanes.set_index("lane_id")["finished_at"]
    assert len(first) >= 4
    assert len(later) >= 16
    assert later[first.index].equals(first)  # not one of them was trained again


def test_the_plan_needs_no_data_and_writes_nothing(here: Run, tmp_path: Path) -> None:
    arguments = ["--model", "mlp", "--runs", "2", "--cycles", "3", "--max-lr", "0.001,0.01", "--scale", "0.01"]
    arguments += ["--engine", "inline", "--lanes", "1"]
    result = here("oracle", "--plan", "--json", *arguments, cwd=tmp_path)
    plan = json.loads(result.stdout)
    assert (plan["lanes"], plan["steps"], plan["parameters"]) == (16, 16 * 3285, 335_114)
    assert plan["state_bytes"] == 335_114 * 4 + 335_114 - 3 * 256 - 10  # a byte a weight for masks; biases have none
    assert (plan["evaluations"], plan["evaluated_images"], plan["scored_images"]) == (5, 28_000, 0)
    names = ("start", "training", "evaluation", "scoring", "pack", "waiting", "end")
    parts = {name: plan[f"{name}_seconds"] for name in names}
    assert plan["seconds"] == pytest.approx(sum(parts.values()))
    assert parts["training"] > 0 and parts["evaluation"] > 0 and parts["pack"] > 0 and parts["scoring"] == 0
    assert plan["at_most_seconds"] > plan["seconds"]
    assert list(tmp_path.iterdir()) == []


def test_a_plan_in_words_says_what_its_time_is_of(here: Run, tmp_path: Path, small: Callable[..., list[str]]) -> None:
    said = " ".join(here(*small(pruning="global_gradient"), "--plan", cwd=tmp_path).stdout.split())
    assert "evaluations 2 per lane, of 719 validation and test images; before each pruning gradients of 1,078" in said
    assert re.search(
        r"time about .* with 1 worker on this machine if no grid is extended; at most .*, if every grid is extended to "
        r"four times its points",
        said,
    )
    assert re.search(r"time by use training .*start of the engine 3 s, tables and pictures 4 s", said)
    assert re.search(r"measured on .* cores?, on cpu, by 1 process at the same time", said)
    said = " ".join(here(*small(max_lr=0.1), "--plan", cwd=tmp_path).stdout.split())
    assert "if no grid" not in said and "at most" in said  # a single max_lr has nothing to be extended by


REFUSED = {
    "an unknown command": (["oracel"], r"unknown command 'oracel'; did you mean oracle\?"),
    "an unknown flag": (["oracle", "--cycels", "3"], r"--cycels.*--cycles"),
    "an unknown preset": (["oracle", "--preset", "digit"], r"'digit'; did you mean digits\?"),
    "an unknown model": (
        ["oracle", "--model", "resnet21"],
        r"unknown network 'resnet21'; did you mean resnet20\? Or give package\.module:function$",
    ),
    "an unknown data set": (["oracle", "--dataset", "mnist"], r"unknown data set 'mnist'; known are .*fashion_mnist"),
    "an unknown pruning": (
        ["oracle", "--pruning", "magnitude"],
        r"unknown pruning 'magnitude'; did you mean layer_magnitude\? Known are global_magnitude",
    ),
    "a reversed grid": (["oracle", "--max-lr", "1:0.1:x5"], r"--max-lr.*0\.1"),
    "a non-finite grid": (["oracle", "--max-lr", "0.1,inf"], r"--max-lr.*inf"),
    "a grid of nonsense": (["oracle", "--max-lr", "fast"], r"LO:HI:STEP.*'fast'"),
    "a rate of one": (["oracle", "--prune-rate", "1"], r"--prune-rate must be below 1, but got 1$"),
    "a rate of zero": (["oracle", "--prune-rate", "0"], r"--prune-rate must be above 0"),
    "negative cycles": (["oracle", "--cycles", "-1"], r"--cycles.*-1"),
    "no runs": (["oracle", "--runs", "0"], r"--runs.*0"),
    "a word for a number": (["oracle", "--runs", "five"], r"--runs takes a whole number, but got 'five'$"),
    "imp without rewinding": (["oracle", "--rewind", "none"], r"imp rewinds by definition"),
    "filters of a network without": (
        ["oracle", "--pruning", "l1_filter"],
        r"pruning l1_filter: .*the network has none",
    ),
    "grey images for a colour network": (
        ["oracle", "--model", "vgg16", "--dataset", "digits"],
        r"3 channels, but got 1",
    ),
    "a plan for what does not fit": (["oracle", "--plan", "--pruning", "taylor_bn"], r"taylor_bn.*has none"),
    "missing data": (["oracle", "--model", "mlp", "--data-dir", "nowhere"], r"fashion_mnist is missing.*--download"),
    "ray://": (["oracle", "--address", "ray://head:10001"], r"ray://head:10001.*HOST:PORT"),
    "an unreachable Ray": (["oracle", "--address", "127.0.0.1:9"], r"no Ray reachable at 127\.0\.0\.1:9"),
    "a Ray address without port": (["oracle", "--address", "head"], r"HOST:PORT or auto.*'head'"),
    "a missing TOML file": (["oracle", "--config", "no.toml"], r"no\.toml cannot be read"),
    "a results folder that is none": (["show", "nothing"], r"nothing holds no sweep"),
    "wrong S-Cyc parameters": (["oracle", "--scyc", "0.1,0.2"], r"--scyc.*0\.1,0\.2"),
    "a trajectory without growth rate": (
        ["trajectory", "--epsilon", "-1", "--delta", "0", "--q", "1", "--beta", "4"],
        r"epsilon.*-1",
    ),
}


@pytest.mark.parametrize("arguments, message", REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_one_clear_line_status_2_and_nothing_written(
    here: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = here(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("scyc-sweep: ")
    assert re.search(message, last), last
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


BAD_FILES = {
    "fashion_mnist": "FashionMNIST/raw/t10k-labels-idx1-ubyte",
    "cifar10": "cifar-10-batches-py/data_batch_3",
    "cifar100": "cifar-100-python/train",
    "tiny_imagenet": "tiny-imagenet-200/val/images/val_3.JPEG",
}


@pytest.mark.parametrize("harm", ["missing", "truncated", "no folder"])
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_data_are_one_line_that_names_the_file_and_nothing_is_written(
    here: Run, tmp_path: Path, small_data: Callable[[str], Path], name: str, harm: str
) -> None:
    folder = small_data(name)
    path = folder / BAD_FILES[name]
    if harm == "no folder":
        shutil.rmtree(folder)
        path = folder / BAD_FILES[name].split("/")[0]
    else:
        content = path.read_bytes()
        path.unlink()
        if harm == "truncated":
            path.write_bytes(content[: len(content) // 2])
    before = sorted(tmp_path.rglob("*"))
    result = here("oracle", "--model", "mlp", "--dataset", name, "--data-dir", folder, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"scyc-sweep: {name} is missing or damaged in ") and str(path) in last
    assert "Traceback" not in result.stderr and result.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_of_other_lanes_is_refused_naming_what_differs(here: Run, finished: Path, small: Small) -> None:
    result = here(*small(batch_size=64, seed=3, out=finished))
    assert result.returncode == 2
    assert "--batch-size was 32, now 64; --seed was 0, now 3" in result.stderr


def test_a_truncated_parquet_file_is_named(here: Run, small: Small, tmp_path: Path) -> None:
    assert here(*small(cycles=0, out=tmp_path / "o")).returncode == 0
    victim = sorted((tmp_path / "o" / "lanes").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-100])
    result = here("show", tmp_path / "o")
    assert result.returncode == 2
    assert victim.name in result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_path_that_cannot_be_written_is_named(here: Run, small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = here(*small(out=tmp_path / "file" / "o"))
    assert result.returncode == 2
    assert "cannot be written" in result.stderr
    assert "Traceback" not in result.stderr


def test_too_little_disk_for_the_states_is_said_before_training(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dict(zip((flag[2:].replace("-", "_") for flag in small()[1::2]), small()[2::2], strict=True))
    settings = resolve(given | {"out": tmp_path / "o"}, kind=OracleSettings)
    # 2 runs of 4 points, 2 winners and the initial weights, 13,130 floats and 12,928 mask bytes each: 913,136 bytes.
    needed = 2 * (4 + 2 + 1) * (13_130 * 4 + 12_928)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    with pytest.raises(SweepError, match=r"states of this sweep may take 0\.0 GB"):
        carry_out(EXPERIMENT, settings)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    assert carry_out(EXPERIMENT, settings).finished


def test_a_folder_with_other_files_is_refused_and_left_alone(here: Run, small: Small, tmp_path: Path) -> None:
    (tmp_path / "states").mkdir()
    (tmp_path / "states" / "thesis.txt").write_text("mine")
    result = here(*small(out=tmp_path))
    assert result.returncode == 2
    assert "has files but no manifest.json, and no finished lanes of this experiment" in result.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.name != ".lock"] == ["states", "thesis.txt"]


def test_toml_sets_what_flags_do_not(here: Run, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('preset = "digits"\nruns = 2\ncycles = 4\nmax_lr = "0.1,0.2"\n')
    result = here("oracle", "--plan", "--json", "--config", "s.toml", "--cycles", "1", cwd=tmp_path)
    assert json.loads(result.stdout)["lanes"] == 2 * 2 * 2


def test_an_interrupt_while_libraries_are_imported_imports_nothing_more(
    here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch and pandas, half imported, fail if they are imported again: the way out must not need them."""

    def interrupted(*arguments: object, **options: object) -> None:
        for name in [
            name for name in sys.modules if name == "torch" or name.startswith(("sweep.experiments.runner", "pandas"))
        ]:
            monkeypatch.setitem(sys.modules, name, None)
        raise KeyboardInterrupt

    monkeypatch.setattr("sweep.cli.main.call", interrupted)
    result = here("oracle", "--cycles", "1")
    assert result.returncode == 130
    assert result.stderr.strip().endswith("To go on: scyc-sweep oracle --cycles 1")


GOES_ON = "; all finished lanes are kept. To go on: scyc-sweep"
INTERRUPTED = {
    "an oracle": (["oracle", "--cycles", "1"], f"{GOES_ON} oracle --cycles 1"),
    "names that a shell would split": (["oracle", "--out", "my $HOME"], f"{GOES_ON} oracle --out 'my $HOME'"),
    "a tuning": (["tune", "--by", "joint"], f"{GOES_ON} tune --by joint"),
    "a comparison of schedules": (["schedules"], f"{GOES_ON} schedules"),
    "controls": (["control", "o"], f"{GOES_ON} control o"),
    "a comparison that trains": (["compare", "o", "--confirm=5"], f"{GOES_ON} compare o --confirm=5"),
    "a comparison that trains nothing": (["compare", "o"], ""),
    "a fit": (["tune", "--by=fit", "--oracle", "o"], ""),
    "a plan": (["oracle", "--plan"], ""),
    "a plan of schedules": (["schedules", "--cycles", "2", "--plan"], ""),
    "a report": (["report", "o"], ""),
    "a table": (["show", "o"], ""),
    "nothing": ([], ""),
}


@pytest.mark.parametrize("words, then", INTERRUPTED.values(), ids=INTERRUPTED.keys())
def test_an_interrupted_command_says_how_to_go_on_if_it_keeps_lanes(
    here: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], then: str
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sweep.cli.main.call", interrupted)
    result = here(*words)
    assert (result.returncode, result.stderr) == (130, f"scyc-sweep: interrupted{then}\n")


@pytest.mark.parametrize(
    "after",
    ["pass", "raise RuntimeError('cancelled')", "raise sweep.errors.TrainingError('a pack failed')"],
    ids=["swallowed", "turned into another error", "turned into one of ours"],
)
def test_an_interrupt_that_a_library_keeps_to_itself_is_one_all_the_same(after: str) -> None:
    code = f"""
import os, signal, sys
import sweep.cli.main, sweep.errors

def swallow(*arguments, **options):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        import time; time.sleep(60)
    except KeyboardInterrupt:
        pass
    {after}

sweep.cli.main.call = swallow
sys.argv = ["scyc-sweep", "show", "o"]
sweep.cli.main.main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (143, "scyc-sweep: terminated\n")
