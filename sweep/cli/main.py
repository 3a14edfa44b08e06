"""The command line: parse, call, print. Nothing else prints or exits, and nothing is decided here.

Torch, Ray and pandas are imported by the commands that need them, so that help answers at once.
"""

import os
import shlex
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter
from pydantic import BaseModel

from sweep.cli import cluster as cli_cluster
from sweep.cli import usage as cli_errors
from sweep.cli.console import Console, err, out, print_json, print_text, results_alone
from sweep.config.messages import printable
from sweep.config.settings import ExecutionFlags, Flags, Place, Settings, resolve
from sweep.errors import SpecError, SweepError, TrainingError
from sweep.execution import signals as ending
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.schedules.settings import SchedulesFlags, SchedulesSettings
from sweep.experiments.tuning.settings import TuningFlags, TuningSettings
from sweep.store.lock import SUBMISSION
from trainables import users_own

if TYPE_CHECKING:
    import pandas as pd

    from sweep.experiments.oracle.results import OracleResults
    from sweep.experiments.schedules.results import SchedulesResults
    from sweep.experiments.tuning.results import TuningResults

app = App(
    name="scyc-sweep",
    help="Which peak learning rate is best at each pruning cycle, how wide is the range that is as good, "
    "and does the S-Cyc schedule predict it?",
    help_format="markdown",
    version=lambda: metadata.version("scyc-sweep"),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,  # main() says how to go on
)

OracleFlags = Annotated[Flags, Parameter(name="*", consume_multiple=1)]  # type: ignore[valid-type]
Compared = Annotated[SchedulesFlags, Parameter(name="*", consume_multiple=1)]  # type: ignore[valid-type]
Tuned = Annotated[TuningFlags, Parameter(name="*", consume_multiple=1)]  # type: ignore[valid-type]
Execution = Annotated[ExecutionFlags, Parameter(name="*")]  # type: ignore[valid-type]
Json = Annotated[bool, Parameter(negative="")]

BROKEN_PIPE = 128 + 13
"""Exit status when nobody reads what is printed (| head): that of a process that SIGPIPE ended."""


def main() -> NoReturn:
    """Run the command line and exit.

    0 done, 1 training failed, 2 bad input, 130 interrupted, 141 nobody reads what is printed, 143 terminated.
    """
    before = set(threading.enumerate())
    with results_alone(), ending.Watch(_with_advice) as watch:
        try:
            status, message = _carry_out()
        except BaseException as error:
            if not (watch.number or isinstance(error, KeyboardInterrupt)):
                raise
            status, message = watch.status, watch.message
        watch.claim()
        if watch.number and status < 128:  # a library swallowed it, or made another error of it
            status, message = watch.status, watch.message
        with suppress(BrokenPipeError):
            if message:
                err.print(f"scyc-sweep: {printable(message)}", soft_wrap=True)
        lingering = [each for each in threading.enumerate() if not each.daemon and each not in before]
        if watch.number or lingering or status == BROKEN_PIPE:
            ending.leave(status)  # of the interpreter's own end a thread or a half-done library may make a hang
    sys.exit(status)


def _carry_out() -> tuple[int, str]:
    """Carry out the command line; return the exit status and what is to be said of it."""
    try:
        status = app(sys.argv[1:], console=Console(file=out.file))
        out.file.flush()
        return status or 0, ""
    except TrainingError as error:
        return 1, str(error)
    except SweepError as error:
        return 2, str(error)
    except BrokenPipeError:
        return BROKEN_PIPE, ""
    except OSError as error:  # a bucket that is not there or does not answer, a disk that is full
        return 1, " ".join(str(error).split())
    except CycloptsError as error:
        return 2, cli_errors.said(error)


def _with_advice(said: str) -> str:
    """Return what is said of the end of a command, with how to go on."""
    if not _keeps_lanes(sys.argv[1:]):
        return said
    again = "submit it again" if SUBMISSION in os.environ else shlex.join(command_line())
    return f"{said}; all finished lanes are kept. To go on: {again}"


def _keeps_lanes(words: list[str]) -> bool:
    """Whether a command trains, and so has something to go on with."""
    flags = {word.partition("=")[0] for word in words}
    match words[:1]:
        case ["oracle" | "schedules"]:
            return "--plan" not in flags
        case ["compare"]:
            return bool(flags & {"--train", "--confirm"})
        case ["tune"]:
            return "--by fit" not in " ".join(words).replace("=", " ")
        case command:
            return command in (["control"], ["job"])


@app.command
def oracle(
    *,
    flags: OracleFlags | None = None,
    config: Path | None = None,
    plan: Annotated[bool, Parameter(negative="")] = False,
    pilot: int | None = None,
    spread: Place | None = None,
    json: Json = False,
) -> None:
    """Build the greedy oracle, or go on with one, and compare S-Cyc with it.

    At every pruning cycle the network is trained at every max_lr of the grid, in several runs; the best by validation
    accuracy is pruned and starts the next cycle. The same command goes on where it was stopped; more cycles, runs, grid
    points or another tolerance extend a folder. Settings come from the preset, then --config, then flags.

    Parameters
    ----------
    config
        TOML file of flags, with the flags' names (max_lr for --max-lr).
    plan
        Print lanes, steps, bytes of states and the time of the whole command, measured on made images; nothing is kept.
    pilot
        With --plan: train three max_lr of the unpruned network in so many runs (5 or more), and say how many runs it
        takes to tell a max_lr that is worse by the tolerance from the best.
    spread
        With --plan: say so from the spread over runs in the results folder of another oracle.
    json
        Print the oracle table (with --plan, the plan) as one JSON object on stdout and nothing else.

    """
    settings = resolve(_given(flags), config, kind=OracleSettings)
    if not plan and (pilot is not None or spread):
        raise SweepError(f"--{'spread' if spread else 'pilot'} belongs to --plan")
    if plan:
        _print_plan(settings, json, pilot, spread)
        return
    from sweep.experiments.oracle.experiment import EXPERIMENT
    from sweep.experiments.runner import run
    from sweep.reporting.live import LiveView

    err.print(
        f"{settings.preset}: {settings.model} on {settings.dataset}, results in {settings.folder}", soft_wrap=True
    )
    _say_own_files(settings)
    with LiveView(err) as view:
        results = run(EXPERIMENT, settings, view, command_line())
    _print_oracle(results, results.comparison if settings.scyc else None, json, lambda r: r.oracle)
    written = ", ".join(sorted(path.name for path in settings.folder.glob("*.p*")))
    err.print(f"tables and picture in {settings.folder}: {written}", soft_wrap=True)


@app.command
def tune(*, flags: Tuned | None = None, config: Path | None = None, json: Json = False) -> None:
    """Tune S-Cyc's epsilon, delta, q and beta with Optuna, or go on with it.

    By stages (the paper, section 4.3): epsilon by the unpruned network's validation accuracy, delta by that at the
    target cycle, then q and beta by whole chains. --by fit takes a finished --oracle and trains nothing. The winner
    goes to scyc.toml, which `compare --scyc` takes. The same command goes on where it was stopped.

    Parameters
    ----------
    config
        TOML file of flags, with the flags' names (max_lr for --max-lr).
    json
        Print the table of trials (--by fit: of fits) as one JSON object on stdout and nothing else.

    """
    settings = resolve(_given(flags), config, kind=TuningSettings)
    from sweep.experiments.runner import run
    from sweep.experiments.tuning.experiment import EXPERIMENT
    from sweep.experiments.tuning.fitting import run_fit
    from sweep.reporting.live import LiveView
    from sweep.reporting.screen import columns, fit_table

    if settings.by == "fit":
        oracle, fits = run_fit(settings, command_line())
        if json:
            print_json(columns(fits.table))
        else:
            out.print(fit_table(fits))
            written = settings.out or oracle.folder.path
            err.print(f"fit.parquet, scyc.toml and fit.png in {written}", soft_wrap=True)
        return
    err.print(
        f"tuning {settings.schedule}: {settings.model} on {settings.dataset}, results in {settings.folder}",
        soft_wrap=True,
    )
    _say_own_files(settings)
    with LiveView(err) as view:
        results = run(EXPERIMENT, settings, view, command_line())
    _print_tuning(results, json)
    err.print(f"tables, winner and picture in {settings.folder}", soft_wrap=True)


@app.command
def schedules(
    *,
    flags: Compared | None = None,
    config: Path | None = None,
    plan: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Compare learning-rate schedules over whole chains of prunings, as the paper's Table 2 does, or go on with it.

    All schedules train side by side, on the same splits, initial weights and batches. One without a max_lr is given the
    best of the grid on the unpruned network first (section 5.1). The same command goes on where it was stopped; more
    schedules, cycles or runs extend a folder.

    Parameters
    ----------
    config
        TOML file of flags, with the flags' names (max_lr for --max-lr).
    plan
        Print lanes, steps, bytes of states and the time of the whole command, measured on made images; nothing is kept.
    json
        Print the table (with --plan, the plan) as one JSON object on stdout and nothing else.

    """
    settings = resolve(_given(flags), config, kind=SchedulesSettings)
    if plan:
        _print_plan(settings, json)
        return
    from sweep.experiments.runner import run
    from sweep.experiments.schedules.experiment import EXPERIMENT
    from sweep.reporting.live import LiveView

    names = ", ".join(entry.name for entry in settings.entries)
    err.print(f"{names}: {settings.model} on {settings.dataset}, results in {settings.folder}", soft_wrap=True)
    _say_own_files(settings)
    with LiveView(err) as view:
        results = run(EXPERIMENT, settings, view, command_line())
    _print_schedules(results, json)
    err.print(f"tables and picture in {settings.folder}", soft_wrap=True)


@app.command
def compare(
    folder: Place,
    /,
    *,
    scyc: Annotated[list[str] | None, Parameter(negative="")] = None,
    train: Json = False,
    confirm: int | None = None,
    paper: Json = False,
    flags: Execution | None = None,
    json: Json = False,
) -> None:
    """Set S-Cyc's trajectory beside the oracle of a folder; writes comparison.parquet and the picture.

    Without --train or --confirm nothing is trained: accuracies at the prediction are read off the measured curves. With
    them the prediction is trained, at every cycle from where the oracle's chain stands and as a whole chain of its own,
    and verdicts.parquet says how sure the gaps are. The same command goes on where it was stopped.

    Parameters
    ----------
    folder
        Results folder of an oracle, finished or not.
    scyc
        S-Cyc parameters EPS,DELTA,Q,BETA, a scyc.toml that `tune` wrote, `paper` or `silo`; may be given several
        times. Default: those the oracle was run with. `none`: the oracle alone.
    train
        Train each trajectory on the oracle's own runs. Verdicts go to FOLDER/validation, which keeps those it has.
    confirm
        Train each trajectory and the oracle's choices on so many held-out runs, which had no part in any choice: the best
        of many noisy means is optimistic. Verdicts go to FOLDER/validation-held-out, which keeps the trajectories and runs that
        it has: settle the number beforehand (oracle --plan), not by how the verdict looks.
    paper
        Print the paper's table of this network beside it, with its contradictions.
    json
        Print the comparison, with --train or --confirm the verdicts, as one JSON object on stdout and nothing else.

    """
    from search_spaces.paper import table_of
    from sweep.experiments.oracle.control import check_unchanged
    from sweep.experiments.oracle.experiment import write_comparison
    from sweep.experiments.oracle.results import OracleResults
    from sweep.experiments.validation.experiment import settings_of, trajectories_of

    results = OracleResults(folder)
    predicted = trajectories_of(results, scyc, training=train or confirm is not None)
    printed = table_of(results.settings.model, results.settings.dataset)
    if paper and printed is None:
        raise SweepError(
            f"--paper: the paper prints no oracle of {results.settings.model} on {results.settings.dataset}"
        )
    asked: list[int | None] = [*([None] if train else []), *([] if confirm is None else [confirm])]
    execution = _given(flags)
    if execution and not asked:
        raise SweepError(f"--{next(iter(execution)).replace('_', '-')} belongs to --train and --confirm")
    if asked:
        _say_own_files(results.settings)
    for held_out_runs in asked:
        settings_of(results, predicted, held_out_runs, execution)  # raises for what is wrong before anything is written
    if asked:
        check_unchanged(results, execution)  # likewise
    write_comparison(results, predicted)
    if asked:
        _train_comparison(results, predicted, asked, execution, json)
    else:
        comparison = results.compare(predicted)
        _print_oracle(results, comparison if predicted else None, json, lambda r: comparison)
    if paper and printed is not None and not json:
        from sweep.reporting.screen import paper_table

        out.print(paper_table(results, printed))


@app.command
def control(
    folder: Place,
    /,
    *,
    pruning: Annotated[list[str] | None, Parameter(negative="", consume_multiple=1)] = None,
    flags: Execution | None = None,
    json: Json = False,
) -> None:
    """Run an oracle's controls, and say whether max_lr rises and whether the rise exceeds_control them.

    A control is the same oracle, on the same runs, with other pruning: none (is it sparsity, or mere retraining?;
    pointless where every cycle rewinds) and random (is it which weights are left, or how few?). Each run is judged by
    its own curve: Page's trend test, and the growth a cycle with its interval over runs. Controls go to
    FOLDER/controls, the table to trend.parquet. The same command goes on where it was stopped.

    Parameters
    ----------
    folder
        Results folder of an oracle.
    pruning
        Controls to run, as `oracle --pruning` has them. Default: those that mean something here.
    json
        Print the table as one JSON object on stdout and nothing else.

    """
    from sweep.experiments.oracle.control import controls_of, run_controls
    from sweep.experiments.oracle.experiment import EXPERIMENT
    from sweep.experiments.oracle.results import OracleResults
    from sweep.experiments.runner import run
    from sweep.reporting.live import LiveView
    from sweep.reporting.screen import columns
    from sweep.reporting.screen_evidence import trend_table

    results = OracleResults(folder)
    _say_own_files(results.settings)
    with LiveView(err) as view:
        names = pruning or controls_of(results.settings)
        results = run_controls(
            results,
            names,
            _given(flags),
            lambda name, each: run(EXPERIMENT, each, view.labelled(name), command_line()),
        )
    if json:
        print_json(columns(results.trend))
    else:
        out.print(trend_table(results))
    err.print(f"trend.parquet and controls.png in {folder}, each control in {results.folder.controls}", soft_wrap=True)


@app.command
def gradients(
    folder: Place,
    /,
    *,
    images: int | None = None,
    beyond: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-0.011,0.009",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    json: Json = False,
) -> None:
    """Measure how gradients and activations are distributed as weights go (the paper's Figures 1 and 3 to 6).

    Takes the networks that an oracle, or a comparison of schedules run with --histograms, has kept; trains nothing.
    Writes histograms.parquet (bins by Sturges' rule), tails.parquet and a picture.

    Parameters
    ----------
    folder
        Results folder of an oracle or a comparison of schedules, finished or not.
    images
        Training images that gradients and activations are taken over. Default: the whole training split.
    beyond
        LO,HI: the share of gradients beyond these bounds is counted. Default: those of section 3.1.
    device
        Where to measure. auto: cuda where there is one.
    json
        Print the table of tails as one JSON object on stdout and nothing else.

    """
    from sweep.analyses.gradients import gradients as measured
    from sweep.analyses.gradients import write_gradients
    from sweep.experiments.registry import load
    from sweep.experiments.results import MeasuredResults
    from sweep.reporting.screen import columns, tails_table

    results = load(folder)
    if not isinstance(results, MeasuredResults):
        raise SweepError(
            f"{folder} holds no chain of its own to measure; give the folder of an oracle or a comparison of schedules"
        )
    try:
        low, high = (float(part) for part in beyond.split(","))
    except ValueError as error:
        raise SweepError(f"--beyond takes LO,HI, but got {beyond!r}") from error
    _say_own_files(results.settings)
    found = measured(results, images, (low, high), device)
    write_gradients(results, found)
    if json:
        print_json(columns(found.tails))
        return
    out.print(tails_table(found))
    err.print(f"histograms.parquet, tails.parquet and histograms.png in {folder}", soft_wrap=True)


@app.command
def trajectory(
    *, epsilon: float, delta: float, q: int, beta: float, prune_rate: float = 0.2, cycles: int = 25, json: Json = False
) -> None:
    """Print the max_lr that S-Cyc predicts for each cycle (paper, section 4).

    Parameters
    ----------
    epsilon
        max_lr of the unpruned network.
    delta
        How much max_lr grows in all.
    q
        Cycles before the growth begins.
    beta
        Steepness of the S-curve.
    prune_rate
        Share of the surviving weights that a cycle removes.
    cycles
        Prunings; cycles 0 to N are printed.
    json
        Print one JSON object of columns on stdout and nothing else.

    """
    from search_spaces.scyc import SCyc, percent_remaining

    try:
        scyc = SCyc(epsilon, delta, q, beta)
        max_lr = scyc.trajectory(cycles, prune_rate)
        remaining = [percent_remaining(cycle, prune_rate) for cycle in range(cycles + 1)]
    except ValueError as error:
        raise SweepError(str(error)) from error
    cycle = list(range(cycles + 1))
    if json:
        print_json({"cycle": cycle, "percent_remaining": remaining, "max_lr": max_lr})
        return
    from sweep.reporting.screen import trajectory_table

    out.print(trajectory_table(cycle, remaining, max_lr, [scyc.phase(m, prune_rate) for m in cycle]))


@app.command
def show(
    folder: Place,
    /,
    *,
    rescore: Json = False,
    trend: Json = False,
    format: Literal["text", "markdown", "latex", "csv", "json"] = "text",
) -> None:
    """Print the table of a results folder, finished or not. Nothing is written.

    Parameters
    ----------
    folder
        Results folder of an oracle, a tuning or a comparison of schedules; or FOLDER/validation, FOLDER/validation-held-out.
    rescore
        Of an oracle: how much hangs on its rules. Each cycle is judged again by best and last score, absolute and
        relative tolerance, half and twice the tolerance, and without each run; nothing is trained.
    trend
        Of an oracle: whether max_lr rises over the cycles, and whether the rise exceeds_control the controls that were run.
    format
        markdown and latex (booktabs) have the table as it is printed; csv and json have all columns in full, json as
        one object of columns.

    """
    from sweep.experiments.registry import load
    from sweep.reporting.formats import write
    from sweep.reporting.views import view_of

    if rescore and trend:
        raise SweepError("--rescore and --trend are two tables: give one")
    view = view_of(load(folder), "rescored" if rescore else "trend" if trend else None, out.width)
    if format == "text":
        out.print(view.table)
    else:
        print_text(write(view, format))


@app.command
def report(
    folders: Annotated[list[Place], Parameter(negative="", consume_multiple=1)],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
) -> None:
    """Write a page to show: one HTML file with answer, certainty, tables, pictures, settings, cost and command.

    Parameters
    ----------
    folders
        Results folders; of an oracle with its controls and trained comparisons, if there are any. Several stand side by
        side.
    output
        Where to write it.

    """
    from sweep.reporting.report import write_report

    write_report(folders, output)
    err.print(f"{output}: open it in a browser", soft_wrap=True)


@app.command
def presets() -> None:
    """Print what each preset sets, the paper table it stands for, and what had to be settled."""
    from sweep.reporting.screen import presets_table

    out.print(presets_table())


cli_cluster.register(app)


def _given(flags: BaseModel | None) -> dict[str, Any]:
    return {} if flags is None else {name: getattr(flags, name) for name in flags.model_fields_set}


def _say_own_files(settings: Settings) -> None:
    """Say which files of the user's a command is about to run. Raises SpecError where there is no such file."""
    for flag, name in (("--model", settings.model), ("--dataset", settings.dataset)):
        if ":" in name:
            try:
                err.print(f"{name} is in {users_own.source(name)}", soft_wrap=True, markup=False)
            except ValueError as error:
                raise SpecError(f"{flag} {error}") from error


def _print_plan(settings: Settings, json: bool, pilot: int | None = None, spread: str | None = None) -> None:
    from dataclasses import asdict

    from sweep.analyses import plan
    from sweep.experiments.oracle.results import OracleResults
    from sweep.reporting.screen import plan_table
    from sweep.store.folder import Folder

    _say_own_files(settings)
    manifest = Folder(settings.folder).manifest()
    begun = manifest["lanes_per_pack"] if manifest and settings.lanes == "auto" else None
    if pilot is not None and spread:
        raise SweepError("--pilot and --spread say the same: give one")
    seen = plan.pilot(settings, pilot) if pilot is not None else None
    if spread:
        oracle = OracleResults(spread)
        seen = plan.spread_of(oracle.replay.closed, oracle.folder.path, oracle.settings.runs)
    if spread and seen is None:
        raise SweepError(
            f"--spread {spread} tells none: it has one run, or no decided cycle with a second feasible point"
        )
    result = plan.plan(settings, begun, seen)
    for note in result.notes:
        err.print(note, soft_wrap=True, markup=False)
    if json:
        print_json(asdict(result))
    else:
        out.print(plan_table(result))


def _print_oracle(
    results: "OracleResults",
    comparison: "pd.DataFrame | None",
    json: bool,
    table: "Callable[[OracleResults], pd.DataFrame]",
) -> None:
    from sweep.reporting.screen import columns, oracle_table, progress_line

    if json:
        print_json(columns(table(results)))
        return
    out.print(oracle_table(results, comparison, out.width))
    if not results.finished:
        out.print(progress_line(results.progress))


def _train_comparison(
    results: "OracleResults",
    predicted: "dict[str, Any]",
    asked: "list[int | None]",
    execution: dict[str, Any],
    json: bool,
) -> None:
    import pandas as pd

    from sweep.experiments.runner import run
    from sweep.experiments.validation.experiment import EXPERIMENT, settings_of
    from sweep.reporting.live import LiveView
    from sweep.reporting.screen import columns
    from sweep.reporting.screen_evidence import verdicts_table

    found = []
    for held_out_runs in asked:
        with LiveView(err) as view:
            found.append(
                run(EXPERIMENT, settings_of(results, predicted, held_out_runs, execution), view, command_line())
            )
    if json:
        print_json(columns(pd.concat([each.verdicts for each in found])))
        return
    for each in found:
        out.print(verdicts_table(each))
        err.print(f"verdicts.parquet in {each.folder.path}", soft_wrap=True)


def _print_tuning(results: "TuningResults", json: bool) -> None:
    from sweep.reporting.screen import columns, progress_line, tuning_table

    if json:
        print_json(columns(results.tuning))
        return
    out.print(tuning_table(results, results.oracle))
    if not results.finished:
        out.print(progress_line(results.progress))


def _print_schedules(results: "SchedulesResults", json: bool) -> None:
    from sweep.reporting.screen import columns, progress_line, schedules_table

    if json:
        print_json(columns(results.schedules))
        return
    out.print(schedules_table(results, out.width))
    if not results.finished:
        out.print(progress_line(results.progress))


def command_line() -> list[str]:
    """Return the command that this process was started with, as it can be typed again."""
    return ["scyc-sweep", *sys.argv[1:]]
