"""What a command prints: tables on stdout, messages on stderr. In: results. Out: text on the terminal or in a log."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from sweep.cli.console import err, out, print_text
from sweep.config.settings import Settings
from sweep.errors import SettingsError
from trainables import users_own

if TYPE_CHECKING:
    from sweep.experiments.results import Results
    from sweep.reporting.views import View

Format = Literal["text", "markdown", "latex", "csv", "json"]


def say(message: str) -> None:
    """Print one message on stderr, in one line whatever its width."""
    err.print(message, soft_wrap=True)


def log(message: str) -> None:
    """Print what is said of a sweep while it runs: as `say`, in a file with the time of day."""
    say(message if err.is_terminal else f"{datetime.now():%H:%M:%S} {message}")


def say_own_files(settings: Settings) -> None:
    """Say which files of the user's a command is about to run. Raises SettingsError where there is no such file."""
    for flag, name in (("--model", settings.model), ("--dataset", settings.dataset)):
        if ":" in name:
            try:
                say(f"{name} is in {users_own.source(name)}")
            except ValueError as error:
                raise SettingsError(f"{flag} {error}") from error


def print_results(results: "Results", format: Format = "text", view: str | None = None) -> None:
    """Print a view of results on stdout; without a name, the first that their experiment has."""
    from sweep.experiments.registry import experiment

    views = experiment(results.kind).views
    print_view(views[view or next(iter(views))](results), format)


def print_view(view: "View", format: Format = "text") -> None:
    """Print a view on stdout: as text for the terminal, or in another format."""
    if format == "text":
        from sweep.reporting.terminal import render

        out.print(render(view, out.width))
    else:
        from sweep.reporting.formats import write

        print_text(write(view, format))


def format_of(json: bool) -> Format:
    """Return the format that --json asks for."""
    return "json" if json else "text"


def command_line() -> list[str]:
    """Return the command that this process was started with, as it can be typed again."""
    return ["scyc-sweep", *sys.argv[1:]]
