"""`python -m sweep`: the command line where it is not installed, as in a job that brings it along."""

import sys
from pathlib import Path

# Python searches the working folder first, where a torch.py of the user's may lie.
if not sys.flags.safe_path and not Path(__file__).is_relative_to(Path(sys.path[0]).absolute()):
    del sys.path[0]

from sweep.cli import main

main()
