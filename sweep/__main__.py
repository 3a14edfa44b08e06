"""`python -m sweep`: the command line where it is not installed, as in a job that brings it along."""

from sweep.cli import main

main()
