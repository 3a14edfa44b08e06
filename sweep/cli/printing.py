"""What a command prints: tables on stdout, messages on stderr. In: results. Out: text on the terminal or in a log."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sweep.cli.console import err, out, print_json, print_text
from sweep.config.settings import Settings
from sweep.errors import SettingsError
from trainables import users_own

if TYPE_CHECKING:
    import pandas as pd

    from sweep.experiments.oracle.results import OracleResults
    from sweep.reporting.views import View


def say(message: str) -> None:
    """Print one message on stderr, in one line whatever its width; in a log with the time of day."""
    err.print(message if err.is_terminal else f"{datetime.now():%H:%M:%S} {message}", soft_wrap=True)


def say_own_files(settings: Settings) -> None:
    """Say which files of the user's a command is about to run. Raises SettingsError where there is no such file."""
    for flag, name in (("--model", settings.model), ("--dataset", settings.dataset)):
        if ":" in name:
            try:
                say(f"{name} is in {users_own.source(name)}")
            except ValueError as error:
                raise SettingsError(f"{flag} {error}") from error


def print_oracle(
    results: "OracleResults",
    comparison: "pd.DataFrame | None",
    json: bool,
    table: "Callable[[OracleResults], pd.DataFrame]",
) -> None:
    """Print an oracle's table, with a comparison if there is one; as JSON, what `table` takes of the results."""
    from sweep.reporting.screen import columns, oracle_table, progress_line

    if json:
        print_json(columns(table(results)))
        return
    out.print(oracle_table(results, comparison, out.width))
    if not results.finished:
        out.print(progress_line(results.progress))


def first_view(name: str, results: Any) -> "View":
    """Return what an experiment shows first."""
    from sweep.experiments.registry import experiment

    return next(iter(experiment(name).views.values()))(results)


def print_view(view: "View", format: str) -> None:
    """Print a view on stdout: as text for the terminal, or in another format."""
    if format == "text":
        from sweep.reporting.terminal import render

        out.print(render(view, out.width))
    else:
        from sweep.reporting.formats import write

        print_text(write(view, format))


def command_line() -> list[str]:
    """Return the command that this process was started with, as it can be typed again."""
    return ["scyc-sweep", *sys.argv[1:]]
