"""The commands that compare a finished oracle: with S-Cyc (compare), with oracles of other pruning (control)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from sweep.cli.console import err, print_json
from sweep.cli.parameters import Flag, Flags, Json, Whole, takes_execution
from sweep.cli.printing import command_line, format_of, print_results, print_view, say, say_own_files
from sweep.config.groups import LocationText
from sweep.errors import SweepError

if TYPE_CHECKING:
    from sweep.experiments.oracle.results import OracleResults


@takes_execution
def compare(
    folder: LocationText,
    /,
    *,
    scyc: Annotated[list[str] | None, Parameter(negative="")] = None,
    train: Flag = False,
    confirm: Whole | None = None,
    paper: Flag = False,
    flags: Flags = None,
    json: Json = False,
) -> None:
    """Compare the max_lr that S-Cyc predicts with the oracle's. Writes comparison.parquet and the figure.

    Without --train and --confirm nothing is trained: the accuracy at the predicted max_lr is interpolated in the
    measured curves. With them the prediction is trained, twice: in every cycle from the oracle's own pruned network,
    and as a chain of its own. verdicts.parquet then has the differences in accuracy and their confidence intervals.
    The same command continues training that was stopped.

    Parameters
    ----------
    folder
        Results folder of an oracle. The oracle need not have ended.
    scyc
        S-Cyc parameters: EPS,DELTA,Q,BETA, a scyc.toml that `scyc-sweep tune` wrote, paper, or silo. It may be given
        several times. Without it, the parameters of the oracle's settings. none: the oracle alone.
    train
        Train each prediction on the runs of the oracle. Results go to FOLDER/validation. Predictions that lie there
        already stay.
    confirm
        Train each prediction and the oracle's choices on this number of new runs (held-out seeds). The oracle's own
        accuracy is optimistic, because it is the best of many noisy means; new runs have no such bias. Results go to
        FOLDER/validation-held-out. Predictions and runs that lie there already stay. Choose the number before you see
        results; `scyc-sweep oracle --plan --spread FOLDER` helps.
    paper
        Print the paper's table of this network, too, and where the paper contradicts itself.
    json
        Print the comparison, or with --train and --confirm the verdicts, as one JSON object on stdout and nothing else
        there.

    """
    from search_spaces.paper import table_of
    from sweep.experiments.oracle import reference_views, table_views
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
    execution = flags or {}
    if execution and not asked:
        raise SweepError(f"--{next(iter(execution)).replace('_', '-')} belongs to --train and --confirm")
    if asked:
        say_own_files(results.settings)
    for held_out_runs in asked:
        settings_of(results, predicted, held_out_runs, execution)  # raises for what is wrong before anything is written
    if asked:
        check_unchanged(results, execution)  # likewise
    write_comparison(results, predicted)
    if asked:
        _train_comparison(results, predicted, asked, execution, json)
    else:
        comparison = results.compare(predicted)
        view = table_views.compared(results, comparison if predicted else None)
        print_view(replace(view, data=comparison), format_of(json))
    if paper and printed is not None and not json:
        print_view(reference_views.paper(results, printed))


@takes_execution
def control(
    folder: LocationText,
    /,
    *,
    pruning: Annotated[list[str] | None, Parameter(negative="", consume_multiple=1)] = None,
    flags: Flags = None,
    json: Json = False,
) -> None:
    """Run controls of an oracle, and test whether max_lr rises more in the oracle than in them.

    A control is the same oracle on the same runs with another pruning criterion. none: is the rise due to sparsity, or
    to training again and again? (It says nothing if every cycle is rewound.) random: does it matter which weights
    remain, or only how many? Each run has its own curve: Page's trend test, and the increase per cycle with its
    confidence interval over runs. Controls go to FOLDER/controls, the table to trend.parquet. The same command
    continues controls that were stopped.

    Parameters
    ----------
    folder
        Results folder of an oracle.
    pruning
        Pruning criteria of the controls, as in `scyc-sweep oracle --pruning`. Without it, those that make sense for
        this oracle.
    json
        Print the table as one JSON object on stdout and nothing else there.

    """
    from sweep.experiments.oracle.control import controls_of, run_controls
    from sweep.experiments.oracle.experiment import EXPERIMENT
    from sweep.experiments.oracle.results import OracleResults
    from sweep.experiments.runner import run
    from sweep.reporting.live import LiveView

    results = OracleResults(folder)
    say_own_files(results.settings)
    with LiveView(err) as view:
        names = pruning or controls_of(results.settings)
        results = run_controls(
            results,
            names,
            flags or {},
            lambda name, each: run(EXPERIMENT, each, view.labelled(name), command_line()),
        )
    print_results(results, format_of(json), "trend")
    say(f"trend.parquet and controls.png in {folder}, each control in {results.folder.controls}")


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
    from sweep.reporting.formats import columns
    from sweep.reporting.live import LiveView

    found = []
    for held_out_runs in asked:
        with LiveView(err) as view:
            settings = settings_of(results, predicted, held_out_runs, execution)
            found.append(run(EXPERIMENT, settings, view, command_line()))
    if json:
        print_json(columns(pd.concat([each.verdicts for each in found])))
        return
    for each in found:
        print_results(each)
        say(f"verdicts.parquet in {each.folder.path}")
