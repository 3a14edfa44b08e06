"""What is said of a wrong input, word for word: one line that says what takes what, what it got, and the way out."""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cyclopts import CycloptsError
from matplotlib import pyplot as plt
from rich.console import Console

from search_spaces.scyc import SCyc
from sweep import load
from sweep.cli import usage as cli_errors
from sweep.cli.console import err, out
from sweep.cli.main import app
from sweep.config.messages import printable, shown
from sweep.config.settings import changed, resolve
from sweep.errors import FolderError, SpecError, SweepError
from sweep.experiments.oracle.results import OracleResults
from sweep.experiments.runner import run_oracle, run_tuning
from sweep.experiments.tuning.settings import TuningSettings
from sweep.reporting import plots
from sweep.reporting.live import LiveView
from sweep.reporting.screen import _why_edge, oracle_table, told_apart, tuning_table
from sweep.store import tables
from sweep.store.folder import Folder
from trainables.states import State, StateError, load_state, save_state

Run = Callable[..., subprocess.CompletedProcess[str]]


def said(words: list[str]) -> str:
    """Return the line that the command line says of some words."""
    try:
        app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return cli_errors.said(error)
    except SweepError as error:
        return str(error)
    raise AssertionError(f"{words} was taken")


WORDS = {
    "oracle --model resnet21": "unknown network 'resnet21'; did you mean resnet20? Or give package.module:function",
    "oracle --model nets": "unknown network 'nets'; known are mlp, resnet20, vgg16, vgg19, alexnet, resnet50; or give "
    "package.module:function",
    "oracle --dataset cifar": "unknown data set 'cifar'; did you mean cifar10? Or give package.module:function",
    "oracle --preset digit": "unknown preset 'digit'; did you mean digits? Known are digits, mlp, resnet20, vgg19, "
    "resnet50, alexnet, vgg16, resnet20-adam and resnet20-rmsprop",
    "oracle --pruning randm": "unknown pruning 'randm'; did you mean random? Known are global_magnitude, "
    "layer_magnitude, global_gradient, layer_gradient, l1_filter, taylor_bn, random, random_filter, none and imp",
    "oracle --schedule warm": "unknown schedule 'warm'; did you mean warmup? Known are warmup, constant, decay, "
    "cyclical, ft, lrw, slr and clr",
    "oracle --optimizer sdg": "unknown optimizer 'sdg'; did you mean sgd? Known are sgd, adam and rmsprop",
    "oracle --split pool": "unknown split 'pool'; did you mean pooled? Known are pooled and fixed_test",
    "oracle --engine dask": "unknown engine 'dask'; known are ray and inline",
    "tune --by stage": "unknown way to tune 'stage'; did you mean stages? Known are stages, joint and fit",
    "tune --sampler gpp": "unknown sampler 'gpp'; did you mean gp? Known are tpe, gp and random",
    "schedules --schedules decoy": "unknown schedule 'decoy'; did you mean decay? Known are constant, decay, cyclical, "
    "warmup-1, warmup-2, scyc, silo, ft, lrw, slr and clr",
    "show --format tex x": "unknown format 'tex'; did you mean text? Known are text, markdown, latex, csv and json",
    "oracel": "unknown command 'oracel'; did you mean oracle? Known are oracle, tune, schedules, compare, control, "
    "gradients, trajectory, show, report, presets, submit, status, logs, stop and collect",
    "oracle --runs two": "--runs takes a whole number, but got 'two'",
    "oracle --runs 1.5": "--runs takes a whole number, but got '1.5'",
    "oracle --prune-rate half": "--prune-rate takes a number, but got 'half'",
    "oracle --lanes many": "--lanes takes auto or a whole number, but got 'many'",
    "oracle --rewind early": "--rewind takes none, init or a whole number, but got 'early'",
    "oracle --keep-output=maybe": "--keep-output takes yes or no, but got 'maybe'",
    "oracle --keep-output maybe": "--keep-output takes no value, but got 'maybe'",
    "oracle --hidden 64 wide": "--hidden takes whole numbers, but got 'wide'",
    "oracle --hidden": "--hidden takes a value, but got none",
    "oracle --milestones 300 200": "milestones must increase, but got [300, 200]",
    "oracle --plan --pilot two": "--pilot takes a whole number, but got 'two'",
    "oracle --plan --pilot 2": "--pilot must be at least 5, but got 2: fewer runs tell too little of the spread",
    "oracle --plan --pilot 0": "--pilot must be at least 5, but got 0: fewer runs tell too little of the spread",
    "oracle --tolerance 200": "--tolerance must be below 100, but got 200",
    "oracle --prune-rate 1": "--prune-rate must be below 1, but got 1",
    "oracle --engine inline --address auto": "--address is for --engine ray: --engine inline trains in this process; "
    "give one of them",
    "trajectory --epsilon big --delta 0 --q 1 --beta 4": "--epsilon takes a number, but got 'big'",
    "trajectory --epsilon 1": "trajectory needs --delta",
    "trajectory --epsilom 1": "trajectory has no flag --epsilom; did you mean --epsilon?",
    "compare": "compare needs FOLDER",
    "oracle --cycels 3": "oracle has no flag --cycels; did you mean --cycles?",
    "oracle --runs": "--runs takes a value, but got none",
    "oracle --hidden --plan": "--hidden takes a value, but got none",
    "oracle --runs 1 --runs 2": "--runs is given more than once",
    "oracle --max-lr 0.1 0.2": "--max-lr takes one value, but got '0.1' and '0.2'",
    "show a b": "show has no use for 'b': see scyc-sweep show --help",
    "show ~no-user": "FOLDER: there is no user ~no-user: write ./~no-user for a path that begins so",
    "oracle --out ~no-user/x": "--out: there is no user ~no-user: write ./~no-user/x for a path that begins so",
    "oracle --data-dir ~no-user": "--data-dir: there is no user ~no-user: write ./~no-user for a path that begins so",
    "collect a --to ~no-user": "--to: there is no user ~no-user: write ./~no-user for a path that begins so",
    "status --storage s3:/x": "--storage: s3:/x is no path: s3://x has two slashes",
}


@pytest.mark.parametrize("words", WORDS)
def test_wrong_words_are_one_line(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert said(words.split()) == WORDS[words]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config", "plan", "pilot", "json"])
def test_a_flag_of_the_command_is_no_setting(name: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(f"{name} = 3")
    with pytest.raises(SpecError) as raised:
        resolve({}, path)
    assert str(raised.value) == f"{path}: {name} is a flag of the command and not a setting"


def test_lists_are_taken_as_they_are_typed() -> None:
    _, bound, _ = app.parse_args(
        ["oracle", "--hidden", "64", "32", "--milestones", "255", "382", "--runs", "2"], exit_on_error=False
    )
    settings = bound.arguments["settings"]
    assert (settings.hidden, settings.milestones, settings.runs) == ((64, 32), (255, 382), 2)


@pytest.mark.parametrize(
    "grid", [[0.01, 0.1], (0.01, 0.1), np.array([0.01, 0.1]), np.array([0.01, 0.1], dtype="float32"), "0.01,0.1"]
)
def test_python_gives_a_grid_as_numbers(grid: Any) -> None:
    assert resolve({"max_lr": grid}).max_lr == "0.01,0.1"


def test_toml_gives_a_grid_as_numbers_too(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text("max_lr = [0.01, 0.1]")
    assert resolve({}, tmp_path / "sweep.toml").max_lr == "0.01,0.1"
    assert resolve({"max_lr": 0.1}).max_lr == "0.1"


def test_a_function_of_a_module_goes_by_its_name() -> None:
    assert resolve({"dataset": printable}).dataset == "sweep.config.messages:printable"
    assert resolve({"preset": "digits", "model": shown}).model == "sweep.config.messages:shown"


def _scripted(shape: object, classes: int) -> None: ...


_scripted.__module__ = "__main__"


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda shape, classes: None, "a lambda has no name"),
        (partial(printable, "x"), "partial is no function of a module"),
        (Path.exists, "Path.exists is defined inside something else"),
        (_scripted, "_scripted is defined in a script or notebook, which workers do not run"),
    ],
    ids=["lambda", "partial", "method", "script"],
)
@pytest.mark.parametrize("setting", ["model", "dataset"])
def test_a_function_that_workers_would_not_find_is_refused_with_the_reason(
    setting: str, function: Callable[..., Any], why: str
) -> None:
    with pytest.raises(SpecError) as raised:
        resolve({"preset": "digits", setting: function})
    assert why in str(raised.value) and "give a def of a file, such as nets.py" in str(raised.value)
    assert str(raised.value).startswith(f"--{setting}: ")


def test_a_later_training_may_be_told_the_engine_alone() -> None:
    oracle = resolve({"address": "head:6379"})
    assert changed(oracle, {"engine": "inline"}).engine == "inline"


def test_why_a_grid_ends_at_its_edge() -> None:
    assert "0 or less" in _why_edge("0.01:0.1:0.01", 0.01)
    assert "four times its points" in _why_edge("0.01:0.1:0.01", None)
    assert "four times its points" in _why_edge("0.01:0.1:x5", 0.0001)
    assert "one point" in _why_edge("0.1", 0.1)


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ((0.0562341, 0.0316228, 0.1), ["0.0562", "0.0316", "0.1"]),  # three digits do
        ((0.0965478, 0.0965478), ["0.0965", "0.0965"]),  # the same
        ((0.09653, 0.09649), ["0.09653", "0.09649"]),
        ((0.09661, 0.09654), ["0.09661", "0.09654"]),  # 0.0966 and 0.0965 look like one number, rounded twice
        ((0.0, 0.1), ["0", "0.1"]),
        ((0.1, 0.1 + 1e-12), ["0.1", "0.1"]),  # rounding
        ((0.1001, 0.1002, 0.035), ["0.1001", "0.1002", "0.035"]),
        ((0.1, float("nan")), ["0.1", "nan"]),
    ],
)
def test_rates_that_are_compared_have_the_digits_that_tell_them_apart(
    values: tuple[float, ...], written: list[str]
) -> None:
    write = told_apart(*values)
    assert [write(value) for value in values] == written


INLINE: dict[str, Any] = {
    "engine": "inline",
    "device": "cpu",
    "lanes": 4,
    "steps": 10,
    "runs": 2,
    "cycles": 1,
    "max_lr": "0.01:1:x2",
    "hidden": (8,),
}


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small oracle in a folder whose name is markup, emoji, formula and no UTF-8."""
    folder = tmp_path_factory.mktemp("names") / "[" / os.fsdecode(b"x]:one:$a\xff")
    run_oracle(resolve({**INLINE, "out": str(folder)}))
    return folder


def test_a_prediction_out_of_a_region_does_not_look_as_if_it_were_its_bound(oracle: Path) -> None:
    results = OracleResults(oracle)
    high = results.oracle["feasible_high"].iloc[0]
    comparison = results.compare({"S-Cyc": SCyc(high * 1.0002, 0, 0, 4)})
    console = Console(width=200, file=StringIO())
    console.print(oracle_table(results, comparison, 200))
    assert isinstance(console.file, StringIO)
    row = next(line for line in console.file.getvalue().splitlines() if line.split()[:1] == ["0"])
    written = row.split(" OUT")[0].split()[-1]
    assert not comparison["inside"].iloc[0]
    assert f"{high * 1.0002:.3g}" == f"{high:.3g}" and written != f"{high:.3g}" and f", {high:.6g}]".rstrip("0") in row


def test_consoles_print_names_as_they_are() -> None:
    for console in (out, err, LiveView().console):
        with console.capture() as capture:
            console.print("t/[/x] [red]:one:", soft_wrap=True)
        assert capture.get() == "t/[/x] [red]:one:\n"


def test_commands_go_with_a_folder_of_any_name(run: Run, oracle: Path) -> None:
    (oracle / "scyc.toml").write_text('schedule = "scyc"\nepsilon = 0.04\ndelta = 0.02\nq = 0\nbeta = 4.0\n')
    env = {"PYTHONIOENCODING": "utf-8:strict"}
    for words in (
        ("compare", oracle, "--scyc", oracle / "scyc.toml"),
        ("report", oracle, "--output", oracle / "report.html"),
        ("submit", "--dry-run", "--storage", oracle, "--", "oracle"),
    ):
        result = run(*words, env=env)
        assert result.returncode == 0, result.stderr
    assert r"x]:one:$a\udcff/scyc.toml" in set(load(oracle).comparison["trajectory"])
    lost = run("show", oracle / "lost", env=env)
    assert lost.returncode == 2 and lost.stderr.count("\n") == 1 and r"[/x]:one:$a\udcff/lost" in lost.stderr


def test_a_line_is_one_line_that_can_be_printed() -> None:
    assert printable("a\nb\x1b[31m\udcff λ") == r"a b\x1b[31m\udcff λ"


def test_any_name_can_be_drawn() -> None:
    names = ["$x", "$x$", "$^$", "_x", r"\$x$", "caf\udce9", "a_b"]
    figure, axes = plt.subplots()
    for name in names:
        axes.plot([0], [0], label=plots._text(name))
    assert len(axes.get_legend_handles_labels()[1]) == len(names)
    axes.legend()
    figure.canvas.draw()
    plt.close(figure)


def test_what_a_tuning_took_of_an_oracle_is_no_trial(oracle: Path, tmp_path: Path) -> None:
    results = run_tuning(
        resolve({**INLINE, "lanes": 2, "oracle": str(oracle), "out": str(tmp_path / "t")}, kind=TuningSettings)
    )
    console = Console(width=200)
    with console.capture() as capture:
        console.print(tuning_table(results, None))
    given = len(results.replay.given.points) if results.replay.given else 0
    assert given >= 2 and f"2 trials and {given} max_lr of the oracle's cycle 0, " in capture.get()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"runs": 3}, "has 2 runs and cycles up to 1, but this takes 3 runs and cycle 1: give --runs 2, or extend"),
        ({"cycles": 4}, "but this takes 2 runs and cycle 4: give --cycles 1, or extend"),
        ({"runs": 3, "cycles": 4, "target_cycle": 3}, "cycle 3: give --runs 2 --target-cycle 1, or extend"),
    ],
)
def test_an_oracle_that_is_too_small_names_the_words_that_fit_it(
    oracle: Path, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    settings = resolve({**INLINE, **given, "oracle": str(oracle), "out": str(tmp_path / "t")}, kind=TuningSettings)
    with pytest.raises(FolderError) as raised:
        run_tuning(settings)
    assert words in str(raised.value) and not (tmp_path / "t").exists()


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Be a user who may read nothing that is not for all: root may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_may_not_be_read_is_told_as_that_and_not_as_damaged(tmp_path: Path) -> None:
    tmp_path.parent.parent.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    tables.write("oracle", [], tmp_path / "oracle.parquet")
    (tmp_path / "manifest.json").write_text("{}")
    digest = save_state(tmp_path, State({}, {}))
    for path in tmp_path.iterdir():
        path.chmod(0)
    with nobody():
        for read, error in (
            (lambda: tables.read("oracle", tmp_path / "oracle.parquet"), FolderError),
            (lambda: Folder(tmp_path).manifest(), FolderError),
            (lambda: load_state(tmp_path, digest), StateError),
            (lambda: resolve({}, tmp_path / "manifest.json"), SpecError),
        ):
            with pytest.raises(error, match=r"cannot be read: Permission denied$") as raised:
                read()
            assert str(tmp_path) in str(raised.value)


def test_gradients_before_a_decided_cycle_are_one_line(oracle: Path, tmp_path: Path) -> None:
    from sweep.analyses.gradients import gradients

    manifest = Folder(oracle).manifest()
    assert manifest is not None
    Folder(tmp_path).write_manifest(manifest | {"finished_at": None, "lanes": []})
    with pytest.raises(FolderError) as raised:
        gradients(load(tmp_path))  # type: ignore[arg-type]
    assert str(raised.value) == f"{tmp_path} has no decided cycle yet, and so no network to measure"
