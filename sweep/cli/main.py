"""The entry of the command line: parse, call, exit. Nothing else exits, and nothing is decided here.

In: the words of a command. Out: an exit status. The commands are in the modules beside this one; torch, Ray and pandas
are imported by those that need them, when they run, so that help answers at once.
"""

import os
import shlex
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from typing import NoReturn

from cyclopts import App, CycloptsError, Group

from sweep.cli import analyses, cluster, compare, experiments, help, show, usage
from sweep.cli.console import Console, err, out, results_alone
from sweep.cli.printing import command_line
from sweep.config.messages import printable
from sweep.errors import SweepError, TrainingError
from sweep.execution import signals
from sweep.experiments.registry import EXPERIMENTS
from sweep.store.lock import SUBMISSION

BROKEN_PIPE = 128 + 13
"""Exit status when nobody reads what is printed (| head): that of a process that SIGPIPE ended."""


app = App(
    name="scyc-sweep",
    help="Which peak learning rate (max_lr) is best at each pruning cycle, how wide is the range that is as good, and "
    "does the S-Cyc schedule predict it?",
    help_format="plaintext",
    version=lambda: metadata.version("scyc-sweep"),
    group_commands=Group("Other", sort_key=len(help.GROUPS)),
    group_parameters=Group("Options", sort_key=1),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,  # main() says how to go on
)
for command in (
    *(experiments.oracle, experiments.tune, experiments.schedules, compare.compare, compare.control),
    *(show.show, show.report, analyses.gradients, show.trajectory, show.presets, show.config),
):
    app.command(command)
cluster.register(app)
app.register_install_completion_command(
    help="Install the completion of commands and flags for your shell (bash, zsh or fish). A line is added to the "
    "start-up file of bash or zsh."
)
help.complete(app)


def main() -> NoReturn:
    """Run the command line and exit.

    0 done, 1 training failed, 2 bad input, 130 interrupted, 141 nobody reads what is printed, 143 terminated.
    """
    before = set(threading.enumerate())
    with results_alone(), signals.Watch(_with_advice) as watch:
        try:
            status, message = _carry_out()
        except BaseException as error:
            if not (watch.number or isinstance(error, KeyboardInterrupt)):
                raise
            status, message = watch.status, watch.message
        watch.claim()
        if watch.number and status < 128:  # a library swallowed it, or made another error of it
            status, message = watch.status, watch.message
        with suppress(BrokenPipeError):
            if message:
                err.print(f"scyc-sweep: {printable(message)}", soft_wrap=True)
        lingering = [each for each in threading.enumerate() if not each.daemon and each not in before]
        if watch.number or lingering or status == BROKEN_PIPE:
            signals.leave(status)  # of the interpreter's own end a thread or a half-done library may make a hang
    sys.exit(status)


def _carry_out() -> tuple[int, str]:
    """Carry out the command line; return the exit status and what is to be said of it."""
    try:
        status = call(sys.argv[1:])
        out.file.flush()
        return status or 0, ""
    except TrainingError as error:
        return 1, str(error)
    except SweepError as error:
        return 2, str(error)
    except BrokenPipeError:
        return BROKEN_PIPE, ""
    except OSError as error:  # a bucket that is not there or does not answer, a disk that is full
        return 1, " ".join(str(error).split())
    except CycloptsError as error:
        return 2, usage.said(error)


def call(words: Sequence[str]) -> int | None:
    """Parse the words of a command line and call the command; return its exit status, None for 0."""
    experiments.add_registered(app)
    status: int | None = app(words, console=Console(file=out.file))
    return status


def _with_advice(said: str) -> str:
    """Return what is said of the end of a command, with how to go on."""
    if not _keeps_lanes(sys.argv[1:]):
        return said
    again = "submit it again" if SUBMISSION in os.environ else shlex.join(command_line())
    return f"{said}; all finished lanes are kept. To go on: {again}"


def _keeps_lanes(words: list[str]) -> bool:
    """Whether a command trains, and so has something to go on with."""
    flags = {word.partition("=")[0] for word in words}
    match words[:1]:
        case ["oracle" | "schedules"]:
            return "--plan" not in flags
        case ["compare"]:
            return bool(flags & {"--train", "--confirm"})
        case ["tune"]:
            return "--by fit" not in " ".join(words).replace("=", " ")
        case [command]:
            return command in ("control", "job", *EXPERIMENTS)
    return False
