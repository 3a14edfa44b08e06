"""Where the command line prints."""

import json
import sys

from rich.console import Console

# Names of folders and files are printed as they are: [/x] is no markup, and :one: no emoji.
# A log has no edge to wrap at.
out = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 110)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)


def print_json(content: object) -> None:
    """Print one JSON value on stdout and nothing else."""
    sys.stdout.write(json.dumps(content) + "\n")
