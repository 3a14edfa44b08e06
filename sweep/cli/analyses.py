"""The commands that analyse results: gradients, and the plan of `--plan`."""

from typing import Annotated, Literal

from cyclopts import Parameter

from sweep.cli.console import print_json
from sweep.cli.parameters import Json, Whole
from sweep.cli.printing import format_of, print_view, say, say_own_files
from sweep.config.groups import LocationText
from sweep.config.settings import Settings
from sweep.errors import SweepError


def gradients(
    folder: LocationText,
    /,
    *,
    images: Whole | None = None,
    beyond: Annotated[str, Parameter(allow_leading_hyphen=True)] = "-0.011,0.009",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    json: Json = False,
) -> None:
    """Measure the distributions of gradients and activations in pruned networks (Figures 1 and 3 to 6 of the paper).

    Takes the networks that an oracle has kept, or a comparison of schedules that ran with --histograms. Nothing is
    trained. Writes histograms.parquet (bins by Sturges' rule), tails.parquet and a figure.

    Parameters
    ----------
    folder
        Results folder of an oracle or a comparison of schedules. The sweep need not have ended.
    images
        Number of training images for gradients and activations. Without it, the whole training split.
    beyond
        Bounds LO,HI of the gradients. The fraction of gradients outside of them is reported. The default is that of
        section 3.1.
    device
        Device for the measurement. auto: cuda if there is one, else cpu.
    json
        Print the table of tails as one JSON object on stdout and nothing else there.

    """
    from sweep.analyses import views
    from sweep.analyses.gradients import gradients as measured
    from sweep.analyses.gradients import write_gradients
    from sweep.experiments.registry import load
    from sweep.experiments.results import MeasuredResults

    results = load(folder)
    if not isinstance(results, MeasuredResults):
        raise SweepError(
            f"{folder} holds no chain of its own to measure; give the folder of an oracle or a comparison of schedules"
        )
    try:
        low, high = (float(part) for part in beyond.split(","))
    except ValueError as error:
        raise SweepError(f"--beyond takes LO,HI, but got {beyond!r}") from error
    say_own_files(results.settings)
    found = measured(results, images, (low, high), device)
    write_gradients(results, found)
    print_view(views.tails(found), format_of(json))
    say(f"histograms.parquet, tails.parquet and histograms.png in {folder}")


def print_plan(settings: Settings, json: bool, pilot: int | None = None, spread: str | None = None) -> None:
    """Print what a sweep would train and how long it would take; see `scyc-sweep oracle --plan`."""
    from dataclasses import asdict

    from sweep.analyses import plan
    from sweep.analyses.plan_view import plan as view
    from sweep.experiments.oracle.results import OracleResults
    from sweep.store.folder import Folder

    say_own_files(settings)
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
        say(note)
    if json:
        print_json(asdict(result))
    else:
        print_view(view(result))
