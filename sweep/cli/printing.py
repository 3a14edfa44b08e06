"""What a command prints: tables on stdout, messages on stderr. In: results. Out: text on the terminal or in a log."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from sweep.cli.console import err, out, print_json
from sweep.config.settings import Settings
from sweep.errors import SettingsError
from trainables import users_own

if TYPE_CHECKING:
    import pandas as pd

    from sweep.experiments.results import OracleResults


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


def command_line() -> list[str]:
    """Return the command that this process was started with, as it can be typed again."""
    return ["scyc-sweep", *sys.argv[1:]]
