"""The commands that train a whole sweep: oracle, tune, schedules, and any other experiment of the registry.

In: flags. Out: a results folder, and its table on stdout.
"""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from sweep.cli.analyses import print_plan
from sweep.cli.console import err, out, print_json
from sweep.cli.parameters import AS_FLAGS, Config, Json, Plan
from sweep.cli.printing import command_line, print_oracle, say, say_own_files
from sweep.config.flags import STRICT, flags_of, group
from sweep.config.groups import LocationText
from sweep.config.resolve import resolve
from sweep.config.settings import Settings
from sweep.errors import SweepError
from sweep.experiments.schedules.settings import SchedulesSettings
from sweep.experiments.tuning.settings import TuningSettings

if TYPE_CHECKING:
    from sweep.experiments.results import SchedulesResults, TuningResults

OracleFlags = Annotated[flags_of(Settings), AS_FLAGS]  # type: ignore[valid-type]
SchedulesFlags = Annotated[flags_of(SchedulesSettings), AS_FLAGS]  # type: ignore[valid-type]
TuningFlags = Annotated[flags_of(TuningSettings), AS_FLAGS]  # type: ignore[valid-type]


def oracle(
    *,
    flags: OracleFlags | None = None,
    config: Config = None,
    plan: Plan = False,
    pilot: Annotated[int | None, Parameter(group=group("Plan")), STRICT] = None,
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
    settings = resolve(flags or {}, config)
    if not plan and (pilot is not None or spread):
        raise SweepError(f"--{'spread' if spread else 'pilot'} belongs to --plan")
    if plan:
        print_plan(settings, json, pilot, spread)
        return
    from sweep.experiments.runner import run_oracle
    from sweep.reporting.live import LiveView

    say(f"{settings.preset}: {settings.model} on {settings.dataset}, results in {settings.folder}")
    say_own_files(settings)
    with LiveView(err) as view:
        results = run_oracle(settings, view, command_line())
    print_oracle(results, results.comparison if settings.scyc else None, json, lambda r: r.oracle)
    written = ", ".join(sorted(path.name for path in settings.folder.glob("*.p*")))
    say(f"tables and picture in {settings.folder}: {written}")


def tune(*, flags: TuningFlags | None = None, config: Config = None, json: Json = False) -> None:
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
    from sweep.experiments.runner import run_fit, run_tuning
    from sweep.reporting.live import LiveView
    from sweep.reporting.screen import columns, fit_table

    if settings.by == "fit":
        oracle, fits = run_fit(settings, command_line())
        if json:
            print_json(columns(fits.table))
        else:
            out.print(fit_table(fits))
            say(f"fit.parquet, scyc.toml and fit.png in {settings.out or oracle.folder.path}")
        return
    say(f"tuning {settings.schedule}: {settings.model} on {settings.dataset}, results in {settings.folder}")
    say_own_files(settings)
    with LiveView(err) as view:
        results = run_tuning(settings, view, command_line())
    _print_tuning(results, json)
    say(f"tables, winner and picture in {settings.folder}")


def schedules(
    *,
    flags: SchedulesFlags | None = None,
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
    from sweep.experiments.runner import run_schedules
    from sweep.reporting.live import LiveView

    names = ", ".join(entry.name for entry in settings.entries)
    say(f"{names}: {settings.model} on {settings.dataset}, results in {settings.folder}")
    say_own_files(settings)
    with LiveView(err) as view:
        results = run_schedules(settings, view, command_line())
    _print_schedules(results, json)
    say(f"tables and picture in {settings.folder}")


def add_registered(app: App) -> None:
    """Add a command for each experiment of the registry that has none of its own."""


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
