"""Where the command line prints: results on stdout, all else on stderr."""

import ctypes
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from rich import console


class Console(console.Console):
    """Rich's, for which a reader that is gone is an error like others: `main` makes an exit status of it."""

    def on_broken_pipe(self) -> None:
        """Go on with the BrokenPipeError that is being handled."""
        raise


_is_terminal = sys.stdout is not None and sys.stdout.isatty()
# Names of folders and files are printed as they are: [/x] is no markup, and :one: no emoji.
# A log has no edge to wrap at.
out = Console(highlight=False, markup=False, emoji=False, width=None if _is_terminal else 110)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)


def print_json(content: object) -> None:
    """Print one JSON value on stdout."""
    print_text(json.dumps(content) + "\n")


def print_text(text: str) -> None:
    """Print a text on stdout as it is."""
    out.file.write(text)


@contextmanager
def results_alone() -> Iterator[None]:
    """Keep stdout for `out`: what libraries and a user's code print meanwhile, from C too, goes to stderr.

    A character that the stream has no code for is printed as its number.
    """
    _open_all()
    stdout = sys.stdout
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    real = stdout is not None and _number(stdout) == 1
    results: IO[str] = _Closed() if stdout is None else stdout
    if real:
        stdout.flush()
        buffering = 1 if stdout.isatty() else -1
        results = os.fdopen(os.dup(1), "w", buffering, stdout.encoding, "backslashreplace")
        os.dup2(2, 1)
    out.file, sys.stdout = results, sys.stderr
    try:
        yield
    finally:
        out.file, sys.stdout = None, stdout  # type: ignore[assignment]
        if real:
            ctypes.CDLL(None).fflush(None)  # C keeps what it printed until there is more
            os.dup2(results.fileno(), 1)
            with suppress(OSError):
                results.close()


class _Closed(io.StringIO):
    """What a command has for stdout that was started without one (>&-)."""

    def write(self, text: str) -> int:
        raise OSError("stdout is closed")


def _open_all() -> None:
    """Open the standard streams that are closed, on nothing: the next file that is opened would else be one of them."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)


def _number(stream: IO[str]) -> int | None:
    """Return a stream's file descriptor; None where it has none, as in a notebook or under pytest."""
    try:
        return stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None
