"""The commands that print what there is and train nothing: show, report, trajectory, presets, config."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sweep.cli.console import print_json, print_text
from sweep.cli.parameters import Flag, Json, Whole
from sweep.cli.printing import Format, print_results, print_view, say
from sweep.config.groups import LocationText
from sweep.config.messages import unknown
from sweep.config.presets import PRESETS
from sweep.config.template import template
from sweep.errors import SettingsError, SweepError
from sweep.experiments.registry import EXPERIMENTS, settings_class


def show(
    folder: LocationText,
    /,
    *,
    rescore: Flag = False,
    trend: Flag = False,
    format: Format = "text",
) -> None:
    """Print the table of a results folder. The sweep need not have ended; nothing is written.

    Parameters
    ----------
    folder
        Results folder of an oracle, a tuning or a comparison of schedules, or FOLDER/validation or
        FOLDER/validation-held-out of an oracle.
    rescore
        Only for an oracle: show how much the result depends on the rules of the decision. Each cycle is judged again
        with the best and the last score, absolute and relative tolerance, half and twice the tolerance, and without
        each run. Nothing is trained.
    trend
        Only for an oracle: test whether max_lr rises over the cycles, and whether it rises more than in the controls
        that were run.
    format
        Format of the output. markdown and latex (booktabs) have the table as it is printed. csv and json have all
        columns and all digits; json is one object of columns.

    """
    from sweep.experiments.registry import experiment, load

    if rescore and trend:
        raise SweepError("--rescore and --trend are two tables: give one")
    results = load(folder)
    name = "rescored" if rescore else "trend" if trend else None
    if name and name not in experiment(results.kind).views:
        flag = "--rescore" if rescore else "--trend"
        raise SweepError(f"{flag} needs an oracle, but {folder} holds the results of {results.kind}")
    print_results(results, format, name)


def report(
    folders: Annotated[list[LocationText], Parameter(negative="", consume_multiple=1)],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("report.html"),
) -> None:
    """Write an HTML page of results: answers with their uncertainty, tables, figures, settings, cost, and the command.

    Parameters
    ----------
    folders
        Results folders. An oracle is shown with its controls and validations, if there are any. Several folders are
        shown side by side.
    output
        File to write.

    """
    from sweep.experiments.report import write_report

    write_report(folders, output)
    say(f"{output}: open it in a browser")


def trajectory(
    *,
    epsilon: float,
    delta: float,
    q: Whole,
    beta: float,
    prune_rate: float = 0.2,
    cycles: Whole = 25,
    json: Json = False,
) -> None:
    """Print the max_lr that S-Cyc predicts for each cycle (section 4 of the paper).

    Parameters
    ----------
    epsilon
        max_lr of the unpruned network.
    delta
        Total increase of max_lr.
    q
        Number of cycles before the increase begins.
    beta
        Steepness of the S-curve.
    prune_rate
        Fraction of the surviving weights that each pruning removes.
    cycles
        Number of prunings, N. Cycles 0 to N are printed.
    json
        Print one JSON object of columns on stdout and nothing else there.

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
    from sweep.analyses.input_views import trajectory as view

    print_view(view(remaining, max_lr, [scyc.phase(m, prune_rate) for m in cycle]))


def presets() -> None:
    """Print what each preset sets, which table of the paper it stands for, and what the paper leaves open."""
    from sweep.analyses.input_views import presets as view

    print_view(view())


def config(preset: str = "digits", /, *, command: str = "oracle") -> None:
    """Print a TOML file of all settings, with comments, to edit and to give to --config.

    Parameters
    ----------
    preset
        Preset whose values are printed. `scyc-sweep presets` lists them.
    command
        Command that the settings are for: oracle, tune, schedules, or another experiment.

    """
    if preset not in PRESETS:
        raise SettingsError(unknown("preset", preset, list(PRESETS)))
    known = [name for name in EXPERIMENTS if name != "compare"]  # its settings come from an oracle
    if command not in known:
        raise SettingsError(unknown("command", command, known))
    print_text(template(preset, settings_class(command), command))
