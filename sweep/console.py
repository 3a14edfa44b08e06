"""Where the command line prints."""

import json
import sys

from rich.console import Console

out = Console(highlight=False, width=None if sys.stdout.isatty() else 110)  # a log has no edge to wrap at
err = Console(stderr=True, highlight=False)


def print_json(content: object) -> None:
    """Print one JSON value on stdout and nothing else."""
    sys.stdout.write(json.dumps(content) + "\n")
