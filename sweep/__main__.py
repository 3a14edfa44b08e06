"""The command `scyc-sweep`, and `python -m sweep` where it is not installed, as in a job that brings it along.

The command line itself takes a moment to import; a signal is answered from the start.
"""

import sys
from pathlib import Path
from typing import NoReturn

# As a script Python searches the working folder first, where a torch.py of the user's may lie.
if (
    __name__ == "__main__"
    and not sys.flags.safe_path
    and not Path(__file__).is_relative_to(Path(sys.path[0]).absolute())
):
    del sys.path[0]

from sweep.execution import signals


def main() -> NoReturn:
    """Run the command line and exit. See `sweep.cli.main`."""
    signals.end_at_signals()
    from sweep.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
