"""The commands that train a whole sweep: oracle, tune, schedules, and any other experiment of the registry.

In: flags. Out: a results folder, and its table on stdout.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from sweep.cli.analyses import print_plan
from sweep.cli.console import err
from sweep.cli.help import epilogue
from sweep.cli.parameters import Config, Flags, Json, Plan, Whole, group, takes
from sweep.cli.printing import command_line, format_of, log, print_results, print_view, say, say_own_files
from sweep.config.groups import LocationText
from sweep.config.resolve import resolve
from sweep.errors import SweepError
from sweep.experiments.oracle.settings import OracleSettings
from sweep.experiments.registry import EXPERIMENTS, settings_class
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.tuning.settings import TuningSettings

if TYPE_CHECKING:
    from sweep.experiments.base import Experiment

DESCRIPTION = """Run the experiment {name}, or continue it where it was stopped.

Parameters
----------
config
    TOML file of settings, as `scyc-sweep config PRESET --command {name}` prints it.
json
    Print the table as one JSON object on stdout and nothing else there.
"""
"""Of the command of an experiment that has none of its own."""


@takes(OracleSettings)
def oracle(
    *,
    flags: Flags = None,
    config: Config = None,
    plan: Plan = False,
    pilot: Annotated[Whole | None, Parameter(group=group("Plan"))] = None,
    spread: Annotated[LocationText | None, Parameter(group=group("Plan"))] = None,
    json: Json = False,
) -> None:
    """Build the greedy oracle: find the best max_lr of every pruning cycle, and compare S-Cyc with it.

    In every cycle the network is trained with every max_lr of the grid, in several runs. The networks of the best
    max_lr, by mean validation accuracy, are pruned and start the next cycle. The same command continues a sweep that
    was stopped. More cycles, runs, grid points or another tolerance extend it. Settings come from the preset, over it
    from --config, over both from flags.

    Parameters
    ----------
    config
        TOML file of settings, as `scyc-sweep config` prints it.
    plan
        Train nothing. Print the number of lanes and steps, the disk space, and the time of the whole command. The time
        is measured on made-up images.
    pilot
        With --plan: train three max_lr in cycle 0 in this many runs (5 or more), and print how many runs are needed to
        detect that a max_lr is worse than the best by the tolerance.
    spread
        With --plan: print the same from the variance between runs of another oracle; give its results folder.
    json
        Print the oracle table, or with --plan the plan, as one JSON object on stdout and nothing else there.

    """
    settings = resolve(flags or {}, config, kind=OracleSettings)
    if not plan and (pilot is not None or spread):
        raise SweepError(f"--{'spread' if spread else 'pilot'} belongs to --plan")
    if plan:
        print_plan(settings, json, pilot, spread)
        return
    _run("oracle", settings, json)


@takes(TuningSettings)
def tune(*, flags: Flags = None, config: Config = None, json: Json = False) -> None:
    """Tune the four parameters of S-Cyc (epsilon, delta, q, beta) with Optuna, or the max_lr of another schedule.

    --by stages (section 4.3 of the paper) maximises the validation accuracy of the unpruned network by epsilon, that at
    the target cycle by delta, and then tunes q and beta. --by fit takes a finished --oracle and trains nothing. The
    best parameters are written to scyc.toml, which `scyc-sweep compare --scyc` takes. The same command continues a
    tuning that was stopped.

    Parameters
    ----------
    config
        TOML file of settings, as `scyc-sweep config PRESET --command tune` prints it.
    json
        Print the table of trials (--by fit: of fits) as one JSON object on stdout and nothing else there.

    """
    settings = resolve(flags or {}, config, kind=TuningSettings)
    if settings.by == "fit":
        _fit(settings, json)
    else:
        _run("tune", settings, json)


@takes(SchedulesSettings)
def schedules(
    *,
    flags: Flags = None,
    config: Config = None,
    plan: Plan = False,
    json: Json = False,
) -> None:
    """Compare learning-rate schedules over a whole chain of prunings, as in Table 2 of the paper.

    All schedules train side by side, with the same data splits, initial weights and batches. A schedule without a
    max_lr gets the one of the grid that is best for the unpruned network (section 5.1). The same command continues a
    comparison that was stopped. More schedules, cycles or runs extend it.

    Parameters
    ----------
    config
        TOML file of settings, as `scyc-sweep config PRESET --command schedules` prints it.
    plan
        Train nothing. Print the number of lanes and steps, the disk space, and the time of the whole command. The time
        is measured on made-up images.
    json
        Print the table, or with --plan the plan, as one JSON object on stdout and nothing else there.

    """
    settings = resolve(flags or {}, config, kind=SchedulesSettings)
    if plan:
        print_plan(settings, json)
        return
    _run("schedules", settings, json)


def add_registered(app: App) -> None:
    """Add a command for each experiment of the registry that has none of its own, such as a third party's."""
    for name in EXPERIMENTS.keys() - set(app):
        app.command(_command(name), name=name, help_epilogue=epilogue(name, f"show results/{name}"))


def _command(name: str) -> Callable[..., None]:
    """Return the command of an experiment, whose flags are its settings."""
    kind = settings_class(name)

    @takes(kind)
    def command(*, flags: Flags = None, config: Config = None, json: Json = False) -> None:
        _run(name, resolve(flags or {}, config, kind=kind), json)

    command.__doc__ = DESCRIPTION.format(name=name)
    return command


def _run(name: str, settings: Any, json: bool) -> None:
    from sweep.experiments.registry import experiment

    carry_out(experiment(name), settings, command_line(), json)


def carry_out(experiment: "Experiment", settings: Any, command: Sequence[str], json: bool = False) -> None:
    """Carry out an experiment, and print its results; say before what is trained, and after where its files lie.

    `command`: as it was typed, for the manifest.
    """
    from sweep.experiments.runner import run
    from sweep.reporting.live import LiveView

    what = f"{experiment.name}: {settings.model} on {settings.dataset}, preset {settings.preset}"
    log(f"{what}, results in {settings.folder}")
    say_own_files(settings)
    with LiveView(err) as view:
        results = run(experiment, settings, view, command)
    print_results(results, format_of(json))
    written = sorted(path.name for path in settings.folder.glob("*.p*"))
    log(f"tables and figures in {settings.folder}: {', '.join(written)}")


def _fit(settings: TuningSettings, json: bool) -> None:
    """Fit S-Cyc to a finished oracle, and print the fits."""
    from sweep.analyses.views import fits
    from sweep.experiments.tuning.fitting import run_fit

    oracle, found = run_fit(settings, command_line())
    print_view(fits(found), format_of(json))
    say(f"fit.parquet, scyc.toml and fit.png in {settings.out or oracle.folder.path}")
